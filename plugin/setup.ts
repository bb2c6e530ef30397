import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Pool } from 'pg'
import { SerializerSelector } from '@fastify/fast-json-stringify-compiler'
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import { messageEvents } from '../routes/message-events.js'
import { createAccess } from './access.js'
import { createCommitter } from './committer.js'
import { DatabaseNewerError, InvalidOptionError, NotMigratedError } from './errors.js'
import { createFeeds } from './feeds.js'
import { createJournal } from './journal.js'
import { messageTopic } from './keys.js'
import { createLimitedLog } from './limited-log.js'
import { defaultPublicError, type Message } from './message.js'
import { createMessageFrames, START } from './message-log.js'
import { latestVersion, migrate, schemaVersion } from './migrate.js'
import type { JournalOptions } from './options.js'
import { createProducers, type OpenMessageOptions, type Produce } from './producers.js'
import { createPublisher, type Redis } from './publisher.js'
import { createReadQueue } from './read-queue.js'
import { createRecorder, type RecordEvent } from './recorder.js'
import { createStatements } from './statements.js'
import { createSubscriber } from './subscriber.js'
import { createViewers } from './viewers.js'

/** `fastify.journal`. */
export interface MessageJournal {
  recordEvent: RecordEvent
  /** Makes or takes over a message and its lease; see `Producers.openMessage` for what it throws. */
  openMessage (options: OpenMessageOptions): Promise<Message>
  /** Brings the tables to version `to`, by default the newest; safe in any number of processes at once. */
  migrate (options?: { to?: number }): Promise<{ from: number, to: number }>
  stats (): JournalStats
}

/** What this process has open. */
export interface JournalStats {
  viewers: number
  /** Messages that have viewers here, each with one Redis subscription. */
  topics: number
  producers: number
}

/** Answers with the message's stream, from its start, while the producer runs on its own. */
export type StreamMessage = (message: Message, produce: Produce) => FastifyReply

/** How long `app.close()` waits for what was recorded to be committed, in ms. */
const FLUSH_MS = 800

/** Puts the parts together and ties them to the app's life. */
export async function setup (app: FastifyInstance, options: JournalOptions): Promise<void> {
  const pool = postgresOf(app, options)
  const redis = redisOf(app, options)
  const log = createLimitedLog(app.log)
  // Without a listener, an idle connection that the server ends would end the process.
  pool.on('error', (error) => { log.warn('pool', { err: error }, 'journal: an idle Postgres connection failed') })
  redis.on('error', (error: Error) => { log.warn('redis', { err: error }, 'journal: the Redis connection failed') })

  const schema = options.schema === undefined ? {} : { schema: options.schema }
  if (options.migrate) await migrate(pool, schema)
  if (options.identify === false) app.log.warn('journal: "identify" is false, so everyone may read every message')

  const journal = createJournal(pool, createStatements(options.schema))
  const committer = createCommitter(journal, options)
  const recorder = createRecorder(committer, createPublisher(redis, log), app.log, log, options.maxPayloadBytes)
  const producers = createProducers(journal, { recorder, log, publicError: options.publicError ?? defaultPublicError }, app.log)

  const frames = createMessageFrames(journal, options)
  const reads = createReadQueue(options.maxConcurrentReads, log)
  const subscriber = createSubscriber(redis, log)
  const messages = createFeeds({ start: START, topic: messageTopic, log: frames.log, decode: frames.decode }, subscriber, reads)
  const viewers = createViewers(options)

  const api: MessageJournal = {
    recordEvent: recorder.recordEvent,
    openMessage: producers.openMessage,
    migrate: async (wanted) => await migrate(pool, { ...schema, ...wanted }),
    stats: () => ({ viewers: viewers.size, topics: messages.size, producers: producers.size })
  }
  app.decorate('journal', api)
  app.decorateReply('recordEvent', recorder.recordEvent)

  let base = ''
  app.decorateReply('streamMessage', function (message, produce) {
    const reply = this
      .header('x-message-id', message.messageId)
      .header('location', `${base}/messages/${message.messageId}/events`)
    const answer = viewers.open(reply, messages, message.messageId, START)
    producers.run(message, produce)
    return answer
  })
  await app.register(async (routes) => {
    base = routes.prefix
    // Ours, whatever the app has chosen for its own routes.
    routes.setValidatorCompiler(TypeBoxValidatorCompiler)
    const serializer = SerializerSelector()({})
    routes.setSerializerCompiler(({ httpStatus = '', ...route }) => serializer({ ...route, httpStatus }))
    await routes.register(messageEvents, { access: createAccess(journal, options), viewers, messages })
  }, { prefix: options.prefix ?? '' })

  app.addHook('onReady', async () => { await checkTables(app, pool, schema) })
  app.addHook('preClose', async () => {
    viewers.close()
    producers.close()
  })
  app.addHook('onClose', async () => {
    await within(FLUSH_MS, committer.drained())
    reads.close()
    subscriber.close()
  })
}

function postgresOf (app: FastifyInstance, { postgres }: JournalOptions): Pool {
  const pool = postgres === undefined ? app.pg.pool : app.pg[postgres]?.pool
  if (pool === undefined) throw new InvalidOptionError(`"postgres": no @fastify/postgres is registered under the name ${JSON.stringify(postgres)}`)
  return pool
}

function redisOf (app: FastifyInstance, { redis }: JournalOptions): Redis {
  const client = redis === undefined ? app.redis : app.redis[redis]
  if (client === undefined) throw new InvalidOptionError(`"redis": no @fastify/redis is registered under the namespace ${JSON.stringify(redis)}`)
  return client
}

/** Fails the start when the tables are not the ones this code needs; a server that is away is no reason not to start. */
async function checkTables (app: FastifyInstance, pool: Pool, schema: { schema?: string }): Promise<void> {
  const needed = await latestVersion()
  const version = await schemaVersion(pool, schema).catch((error: unknown) => {
    app.log.error({ err: error }, 'journal: Postgres cannot be reached; events and readers will wait for it')
    return needed
  })
  if (version < needed) throw new NotMigratedError(version, needed)
  if (version > needed) throw new DatabaseNewerError(version, needed)
}

async function within (ms: number, done: Promise<void>): Promise<void> {
  const timer = new AbortController()
  await Promise.race([done, delay(ms, undefined, { signal: timer.signal }).catch(() => {})])
  timer.abort()
}
