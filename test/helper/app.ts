import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify, { type FastifyInstance } from 'fastify'
import { randomUUID } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import type { PoolConfig } from 'pg'
import type { Test } from 'tap'
import messageJournal, { type MessageJournalOptions } from '../../plugin/index.js'
import { createTestDatabase } from './database.js'

export interface LogLine {
  level: number
  msg: string
  [field: string]: unknown
}

export interface TestApp {
  app: FastifyInstance
  /** Where it listens, without a slash at the end. */
  url: string
  databaseUrl: string
  /** What it has logged so far. */
  lines: LogLine[]
}

export interface TestAppOptions extends Partial<MessageJournalOptions> {
  databaseUrl?: string
  /** Of the app's pool. */
  pool?: PoolConfig & { binary?: boolean }
  /** Default: a free one. */
  port?: number
  redisUrl?: string
  /** In place of `redisUrl`: a client that the test has made, and closes. */
  redisClient?: FastifyInstance['redis']
  /** Where its log goes; by default a new array. */
  lines?: LogLine[]
  /** Called before `listen`: hooks and routes of the test's own. */
  extend?: (app: FastifyInstance) => void | Promise<void>
}

/** The user that a request of these tests is made by; without the header, nobody. */
export const USER_HEADER = 'x-user'

/** What only a tick would find, or say, stays unfound and unsaid. */
export const NO_TICKS = { reconcileMs: 600_000, heartbeatMs: 600_000, producerIdleMs: 1_200_000 }

/** An app as a user would write it, listening on a free port, on a database of its own; closed after the test. */
export async function startApp (
  t: Test, { databaseUrl, redisUrl = process.env.TEST_REDIS_URL ?? '', redisClient, pool = {}, port = 0, lines = [], extend, ...options }: TestAppOptions = {}
): Promise<TestApp> {
  const connectionString = databaseUrl ?? await createTestDatabase(t)
  const app = Fastify({
    logger: { level: 'info', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } },
    forceCloseConnections: true
  })
  t.teardown(() => app.close())
  await app.register(postgres, { connectionString, ...pool })
  await app.register(redis, redisClient === undefined ? { url: redisUrl } : { client: redisClient })
  await app.register(messageJournal, {
    prefix: '/api',
    identify: (request) => request.headers[USER_HEADER]?.toString(),
    migrate: true,
    maxConnectionsPerUser: 0,
    ...options
  })
  await extend?.(app)
  await app.listen({ port, host: '127.0.0.1' })
  const address = app.server.address() as AddressInfo // it listens on TCP
  return { app, url: `http://127.0.0.1:${address.port}`, databaseUrl: connectionString, lines }
}

/**
 * More than are busy at a time, so that none is opened while a wire loses answers: it would wait for the server's first words. The
 * journal has asked on each which server it is, which it does before anything else.
 */
export async function openConnections (app: FastifyInstance): Promise<void> {
  const connections = await Promise.all([1, 2, 3].map(() => app.pg.pool.connect()))
  for (const connection of connections) connection.release()
  const url = `/api/messages/${randomUUID()}/events`
  await Promise.all(connections.map(async () => await app.inject({ url, headers: { [USER_HEADER]: 'ada' } })))
}
