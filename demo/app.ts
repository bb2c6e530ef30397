import cookie from '@fastify/cookie'
import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import fp from 'fastify-plugin'
import messageJournal from '../plugin/index.js'
import { publicError, type Answerer } from './answers/answerer.js'
import { approvalRoutes } from './routes/approval.js'
import { chatRoutes } from './routes/chat.js'
import { demoRoutes } from './routes/demo.js'
import { pageRoutes } from './routes/page.js'
import { uploadRoutes } from './routes/uploads.js'
import { readSession } from './session.js'
import { createAnswerStore } from './store/answers.js'
import { findOrphans, makeTables, spareUnfinished } from './store/tables.js'
import { createUploadStore } from './store/uploads.js'
import type { Supervisor } from './supervisor.js'
import { createAnswering } from './work/answering.js'
import { createIngesting } from './work/ingesting.js'

export interface DemoOptions {
  databaseUrl: string
  redisUrl: string
  /** Signs the session cookies: whoever has it can be anybody. */
  sessionSecret: string
  answerer: Answerer
  supervisor: Supervisor
  /** The built page. */
  pageFolder: string
  /** The pace of answers that are known before. */
  tokensPerSecond?: number
  /** How long an upload takes. */
  ingestMs?: number
  logger?: FastifyServerOptions['logger']
}

export interface Demo {
  app: FastifyInstance
  /** Goes on with all that these producers, who are gone, had under way. Resolves once that is open. */
  adopt (producers: string[]): Promise<void>
  /** Who has left something, unless it is one of these. */
  findOrphans (living: string[]): Promise<string[]>
}

/** The demo as a Fastify app, ready to listen; `app.close()` closes all that it opened. */
export async function buildDemo (options: DemoOptions): Promise<Demo> {
  const { databaseUrl, redisUrl, sessionSecret, answerer, supervisor, pageFolder, tokensPerSecond = 40, ingestMs = 3_000, logger = false } = options
  // Browsers keep connections in hand that have had no request yet: to Node those are not idle, and would hold the end up
  const app = Fastify({ logger, forceCloseConnections: true })
  try {
    await app.register(cookie, { secret: sessionSecret })
    await app.register(postgres, { connectionString: databaseUrl, max: 20 })
    await spareUnfinished(app.pg.pool)
    await app.register(redisAtOnce, { url: redisUrl })
    // A worker that is killed keeps its readers' places for a while, and this is an app whose workers are killed
    await app.register(messageJournal, { prefix: '/api', identify: readSession, migrate: true, publicError, maxConnectionsPerUser: 64 })
    await makeTables(app.pg.pool)

    const { producer } = supervisor.self
    const answers = createAnswerStore(app.pg.pool, producer)
    const uploads = createUploadStore(app.pg.pool, producer)
    const answering = await createAnswering(app, { answerer, store: answers, findUploaded: uploads.search, tokensPerSecond })
    const ingesting = createIngesting(app, uploads, ingestMs)

    await app.register(chatRoutes, { prefix: '/api', answering })
    await app.register(approvalRoutes, { prefix: '/api', answering, store: answers })
    await app.register(uploadRoutes, { prefix: '/api', ingesting })
    await app.register(demoRoutes, { prefix: '/api', store: answers, supervisor, answers: answerer.name })
    await app.register(pageRoutes, { folder: pageFolder })
    await app.ready()
    return {
      app,
      async adopt (producers) { await Promise.all([answering.adopt(producers), ingesting.adopt(producers)]) },
      findOrphans: (living) => findOrphans(app.pg.pool, living)
    }
  } catch (error) {
    await app.close()
    throw error
  }
}

/** @fastify/redis waits for its server; here a worker must start while Redis is stopped, too. The name is what the journal asks for. */
const redisAtOnce = fp<{ url: string }>(async (app, { url }) => {
  redis(app, { url, retryStrategy: (times) => Math.min(times * 50, 500) }, () => {})
}, { name: '@fastify/redis' })
