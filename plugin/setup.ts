import type { FastifyInstance, FastifyReply } from 'fastify'
import type { Pool } from 'pg'
import { SerializerSelector } from '@fastify/fast-json-stringify-compiler'
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import { messageEvents } from '../routes/message-events.js'
import { messageStop } from '../routes/message-stop.js'
import { createAccess } from './access.js'
import { createCommitter } from './committer.js'
import { createConnection } from './connection.js'
import { DatabaseNewerError, InvalidOptionError, NotMigratedError } from './errors.js'
import { every } from './every.js'
import { createFeeds } from './feeds.js'
import { createFinisher } from './finisher.js'
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
import { createReconciler } from './reconciler.js'
import { createRecorder, type RecordEvent } from './recorder.js'
import { cleanup, type Cleaned, type CleanupOptions } from './retention.js'
import { createSlots, RENEW_MS } from './slots.js'
import { createLockMessages, createStatements } from './statements.js'
import { createStopper, STOP_TOPIC } from './stop.js'
import { createSubscriber } from './subscriber.js'
import { createViewers } from './viewers.js'

/** `fastify.journal`. */
export interface MessageJournal {
  recordEvent: RecordEvent
  /** Makes or takes over a message and its lease; see `Producers.openMessage` for what it throws. */
  openMessage (options: OpenMessageOptions): Promise<Message>
  /** Brings the tables to version `to`, by default the newest; safe in any number of processes at once. */
  migrate (options?: { to?: number }): Promise<{ from: number, to: number }>
  /**
   * Deletes old events, and messages that have none left, in small batches. @throws InvalidOptionError; rejects with
   * pg's error, and what was deleted by then stays deleted.
   */
  cleanup (options: CleanupOptions): Promise<Cleaned>
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
/** While Redis is away, the journal is polled in its place, in ms. */
const POLL_MS = 300
/** Often enough for processes that do not live long. */
const RETENTION_INTERVAL_MS = 600_000

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

  const { publicError = defaultPublicError, maxConnectionsPerUser, overload } = options
  const journal = createJournal(createConnection(pool, createStatements(options.schema), options.writeRetryMs), createLockMessages(options.schema))
  const publisher = createPublisher(redis, log)
  const committer = createCommitter(journal, options)
  const recorder = createRecorder(committer, publisher, app.log, log, options.maxPayloadBytes)
  const producers = createProducers(journal, { recorder, log, publicError })
  const finisher = createFinisher(journal, publisher)
  const stopper = createStopper(finisher, producers, publisher)

  const frames = createMessageFrames(journal, options)
  const reads = createReadQueue(options.maxConcurrentReads, log)
  const subscriber = createSubscriber(redis, log, () => {
    reconciliation.hurry()
    heartbeat.hurry()
  })
  const messages = createFeeds({ start: START, topic: messageTopic, log: frames.log, decode: frames.decode }, subscriber, reads)
  const viewers = createViewers(options)
  const slots = maxConnectionsPerUser === 0 ? null : createSlots(redis, maxConnectionsPerUser, log)
  const reconcile = createReconciler({
    journal, feeds: messages, frames, finisher, log, producerIdleMs: options.producerIdleMs, publicError: defaultPublicError
  })

  const reconciliation = every(() => subscriber.healthy ? options.reconcileMs : Math.min(POLL_MS, options.reconcileMs), reconcile)
  const heartbeat = every(() => subscriber.healthy ? options.heartbeatMs : Math.min(options.reconcileMs, options.heartbeatMs), producers.beat)
  const renewal = every(() => RENEW_MS, async () => { await slots?.renew() })
  const retention = every(() => RETENTION_INTERVAL_MS, async () => {
    if (options.retentionDays === 0) return
    await cleanup(journal, options.retentionDays).catch((error: unknown) => {
      log.error('retention', { err: error }, 'journal: old events could not be deleted')
    })
  })
  subscriber.subscribe(STOP_TOPIC, stopper)

  app.addHook('preClose', async () => {
    viewers.close()
    producers.close()
  })
  app.addHook('onClose', async () => {
    for (const repetition of [reconciliation, heartbeat, renewal, retention]) repetition.stop()
    await within(FLUSH_MS, committer.drained().then(producers.release))
    committer.close()
    reads.close()
    subscriber.close()
  })

  const api: MessageJournal = {
    recordEvent: recorder.recordEvent,
    openMessage: producers.openMessage,
    migrate: async (wanted) => await migrate(pool, { ...schema, ...wanted }),
    async cleanup ({ olderThanDays }) {
      if (!Number.isInteger(olderThanDays) || olderThanDays < 1) throw new InvalidOptionError(`"olderThanDays" must be a whole number of days, at least 1; got ${String(olderThanDays)}`)
      return await cleanup(journal, olderThanDays)
    },
    stats: () => ({ viewers: viewers.size, topics: messages.size, producers: producers.size })
  }
  app.decorate('journal', api)
  app.decorateReply('recordEvent', recorder.recordEvent)

  let base = ''
  app.decorateReply('streamMessage', function (message, produce) {
    const reply = this
      .header('x-message-id', message.messageId)
      .header('location', `${base}/messages/${message.messageId}/events`)
    const answer = viewers.open(reply, messages, message.messageId, { start: START, endsPast: message.openedAt })
    producers.run(message, produce)
    return answer
  })
  await app.register(async (routes) => {
    base = routes.prefix
    // Ours, whatever the app has chosen for its own routes.
    routes.setValidatorCompiler(TypeBoxValidatorCompiler)
    const serializer = SerializerSelector()({})
    routes.setSerializerCompiler(({ httpStatus = '', ...route }) => {
      const serializeError = serializer({ ...route, httpStatus })
      // The app's own error handler or hook may answer in a form of its own.
      return (answer) => answer instanceof Error ? serializeError(answer) : JSON.stringify(answer)
    })
    const access = createAccess(journal, options)
    await routes.register(messageEvents, { access, viewers, messages, slots, overload, maxConnectionsPerUser, isTerminal: frames.isTerminal })
    await routes.register(messageStop, { access, stopper })
  }, { prefix: options.prefix ?? '' })

  app.addHook('onReady', async () => { await checkTables(app, pool, schema) })
}

function postgresOf (app: FastifyInstance, { postgres }: JournalOptions): Pool {
  const pool = postgres === undefined ? app.pg.pool : app.pg[postgres]?.pool
  if (pool === undefined) throw new InvalidOptionError(`"postgres": no @fastify/postgres is registered under the name ${JSON.stringify(postgres)}`)
  return pool
}

function redisOf (app: FastifyInstance, { redis }: JournalOptions): Redis {
  const client = redis === undefined ? app.redis : app.redis[redis]
  if (typeof client?.duplicate !== 'function') throw new InvalidOptionError(`"redis": no @fastify/redis is registered under the namespace ${JSON.stringify(redis)}`)
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

/** Resolves when `done` does, or after `ms`. */
async function within (ms: number, done: Promise<void>): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms)
    done.then(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}
