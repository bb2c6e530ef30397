import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { createPublisher } from '../../plugin/redis/publisher.js'
import { createNotificationPublisher, type PublishUserEvent, type UserPublisherOptions } from '../../plugin/notifications/notification-publisher.js'
import { eventually } from './journal.js'
import { startClient, type RedisClient } from './redis-client.js'
import { streamKey } from './user.js'

export interface StoredEntry {
  id: string
  envelope: string
}

export interface UserPublishing extends RedisClient {
  user: string
  key: string
  publish: PublishUserEvent
  /** What stands in the user's stream. */
  entries (): Promise<StoredEntry[]>
}

/** What publishes notifications, on a client of its own, and a user of this test alone. */
export async function startPublishing (t: Test, options: Partial<UserPublisherOptions> = {}, url?: string): Promise<UserPublishing> {
  const client = await startClient(t, url)
  const { redis, log } = client
  const user = randomUUID()
  const key = streamKey({ user })
  return {
    ...client,
    user,
    key,
    publish: createNotificationPublisher(redis, createPublisher(redis, log), log, {
      notifications: true, streamMaxEntries: 1_000, maxPayloadBytes: 1_048_576, replayMaxAgeHours: 24, ...options
    }).publishUserEvent,
    entries: async () => (await redis.xrange(key, '-', '+')).map(([id, [, envelope = '']]) => ({ id, envelope }))
  }
}

export interface Heard {
  /** The envelopes, as they came. */
  texts: string[]
  /** Called for each as it comes. */
  onText: (text: string) => void
  until (count: number): Promise<void>
}

/** Listens to the user's topic, on a connection of its own that closes after the test. */
export async function hear (t: Test, { redis, user }: Pick<UserPublishing, 'redis' | 'user'>): Promise<Heard> {
  const connection = redis.duplicate()
  t.teardown(async () => { connection.disconnect() })
  connection.on('error', () => {})
  const heard: Heard = {
    texts: [],
    onText: () => {},
    until: async (count) => { await eventually(() => heard.texts.length >= count) }
  }
  connection.on('message', (_topic, text) => {
    heard.texts.push(text)
    heard.onText(text)
  })
  await connection.subscribe(`user:${user}`)
  return heard
}

/** A line of MONITOR: the time, who sent it, the command's name, and its first argument. */
const MONITORED = /^\+[\d.]+ \[.*?\] "([^"]*)"(?: "([^"]*)")?/

/**
 * The commands that Redis executes on behalf of a user, whoever sends them. On a plain socket: ioredis fails when a line comes in
 * one piece with the OK.
 */
export async function watch (t: Test, { redis, user }: Pick<UserPublishing, 'redis' | 'user'>) {
  const { host = '127.0.0.1', port = 6379 } = redis.options
  const socket = connect({ host, port })
  t.teardown(() => { socket.destroy() })
  socket.on('error', () => {}) // a server that a test kills
  const names: string[] = []
  const marker = randomUUID()
  let markers = 0
  const lines = createInterface(socket)
  socket.write('MONITOR\r\n')
  await once(lines, 'line') // +OK
  lines.on('line', (line) => {
    const [, name = '', key] = MONITORED.exec(line) ?? []
    if (key === marker) markers++
    else if (key?.startsWith(`user:${user}`) === true) names.push(name.toUpperCase())
  })
  return {
    names,
    /** Resolves once all is here that `redis` has been asked so far. */
    async flushed () {
      const wanted = markers + 1
      await redis.echo(marker)
      await eventually(() => markers >= wanted)
    }
  }
}
