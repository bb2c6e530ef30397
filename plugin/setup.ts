import type { FastifyInstance, FastifyReply } from 'fastify'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { SerializerSelector } from '@fastify/fast-json-stringify-compiler'
import { TypeBoxValidatorCompiler } from '@fastify/type-provider-typebox'
import { messageEvents } from '../routes/message-events.js'
import { messageStop } from '../routes/message-stop.js'
import { createServeStream } from '../routes/serve-stream.js'
import { userEvents } from '../routes/user-events.js'
import { createAccess } from '../routes/access.js'
import type { ClearApproval, RequestApproval } from './notifications/approvals.js'
import { createConnection, statementTimeout } from './postgres/connection.js'
import { countMessages } from './ops/count.js'
import { InvalidOptionError, NotAMessageError } from './errors.js'
import { every, type Repetition } from './util/interval.js'
import { createJournal } from './postgres/journal.js'
import { createLimitedLog } from './util/rate-limited-logger.js'
import type { Message } from './message-handle.js'
import { START } from './messages/message-log.js'
import { createMessagePipe, HANDOVER_TOPIC } from './messages/messages.js'
import { migrate } from './ops/migrate.js'
import { type JournalOptions, MAX_RETENTION_DAYS } from './options.js'
import { isPlainObject } from './wire/payload.js'
import type { OpenMessageOptions, Produce } from './messages/producers.js'
import { defaultPublicError } from './public-error.js'
import { createPublisher } from './redis/publisher.js'
import type { RecordEvent } from './write/recorder.js'
import { bindToRequests } from './messages/request-binding.js'
import { cleanup, type Cleaned, type CleanupOptions } from './ops/retention.js'
import { checkTables, postgresOf, redisOf } from './ops/preflight.js'
import { createSlots, RENEW_MS } from '../routes/connection-limit.js'
import { createScripts, createStatements, tablesOf } from './postgres/statements.js'
import { STOP_TOPIC } from './messages/stop.js'
import { createSubscriber } from './redis/subscriber.js'
import type { TrackTask } from './notifications/tasks.js'
import { shown } from './wire/text.js'
import { createGreet } from './postgres/timeline.js'
import { createUserPipe } from './notifications/notifications.js'
import type { PublishUserEvent } from './notifications/notification-publisher.js'
import { createViewers } from './read/viewers.js'

/** `fastify.journal`. */
export interface MessageJournal {
  recordEvent: RecordEvent
  /** Makes or takes over a message and its lease; see `Producers.openMessage` for what it throws. */
  openMessage (options: OpenMessageOptions): Promise<Message>
  publishUserEvent: PublishUserEvent
  trackTask: TrackTask
  requestApproval: RequestApproval
  clearApproval: ClearApproval
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
  /** Messages and users that have viewers here, each with one Redis subscription. */
  topics: number
  producers: number
}

/** Answers with the message's stream, from its start, while the producer runs on its own. */
export interface StreamMessage {
  (message: Message, produce: Produce): FastifyReply
  /** Opens the message first, and rejects as `openMessage` does. */
  (options: OpenMessageOptions, produce: Produce): Promise<FastifyReply>
}

/** How long `app.close()` waits for what was recorded to be committed, in ms. */
const FLUSH_MS = 800
/** While hints do not come from Redis, the logs are polled in its place, in ms. */
const POLL_MS = 300
const PLAIN_PATH = /^\/?([\w.~-]+\/)*[\w.~-]*$/
/** A lease whose message was locked is tried again so soon, in ms. */
const LOCKED_LEASE_MS = 500
/** Often enough for processes that do not live long. */
const RETENTION_INTERVAL_MS = 600_000

/** Puts the parts together and ties them to the app's life. */
export async function setup (app: FastifyInstance, options: JournalOptions): Promise<void> {
  for (const prefix of [app.prefix, options.prefix ?? '']) checkPrefix(prefix)
  const pool = postgresOf(app, options)
  const redis = redisOf(app, options)
  const log = createLimitedLog(app.log)
  // Without a listener, an idle connection that the server ends would end the process.
  pool.on('error', (error) => { log.warn('pool', { err: error }, 'journal: an idle Postgres connection failed') })
  redis.on('error', (error: Error) => { log.warn('redis', { err: error }, 'journal: the Redis connection failed') })

  const schema = options.schema === undefined ? {} : { schema: options.schema }
  if (options.migrate) await migrate(pool, schema)
  if (options.identify === false) app.log.warn('journal: "identify" is false, so everyone may read every message')

  const tables = tablesOf(options.schema)
  const greet = createGreet(tables, statementTimeout(options.writeRetryMs), log)
  const journal = createJournal(createConnection(pool, createStatements(tables), options.writeRetryMs, greet), createScripts(tables))
  const hurried: Repetition[] = []
  const subscriber = createSubscriber(redis, log, () => { for (const repetition of hurried) repetition.hurry() })
  const publisher = createPublisher(redis, log)
  const parts = { publisher, subscriber, log, publicError: options.publicError ?? defaultPublicError }
  const messages = createMessagePipe({ journal, logger: app.log, onOpened: bindToRequests(app), ...parts }, options)
  const users = createUserPipe({ redis, ...parts }, options)
  const viewers = createViewers(options)
  const slots = createSlots(redis, options.maxConnectionsPerUser, log)

  const hintless = (ms: number, otherwise: number) => () => subscriber.healthy ? ms : Math.min(otherwise, ms)
  const judging = every(hintless(options.reconcileMs, POLL_MS), messages.judge)
  hurried.push(
    every(hintless(options.reconcileMs, POLL_MS), messages.reconcile),
    every(hintless(options.reconcileMs, POLL_MS), users.reconcile),
    judging,
    every(() => Math.min(hintless(options.heartbeatMs, options.reconcileMs)(), messages.producers.isBehind ? LOCKED_LEASE_MS : Infinity), messages.producers.beat)
  )
  const unhurried = [
    every(() => RENEW_MS, slots.renew),
    every(() => RETENTION_INTERVAL_MS, async () => {
      if (options.retentionDays === 0) return
      await cleanup(journal, options.retentionDays).catch((error: unknown) => {
        log.error('retention', { err: error }, 'journal: old events could not be deleted')
      })
    })
  ]
  subscriber.subscribe(STOP_TOPIC, messages.stopper)
  if (options.takeOver !== undefined) subscriber.subscribe(HANDOVER_TOPIC, { subscribed () {}, message: judging.hurry })

  app.addHook('preClose', async () => {
    viewers.close()
    messages.producers.close()
  })
  const closing = new AbortController()
  app.addHook('onClose', async () => {
    closing.abort()
    for (const repetition of [...hurried, ...unhurried]) repetition.stop()
    await Promise.all([
      within(FLUSH_MS, messages.drained().then(messages.handOver)),
      within(FLUSH_MS, users.close()),
      slots.close()
    ])
    await nextTurn() // in which the last hints are published
    // The app's client says QUIT next. Had it more to send behind that, Redis would cut the connection without an answer.
    publisher.close()
    messages.close()
    subscriber.close()
  })

  const { recordEvent } = messages
  const { publishUserEvent, trackTask, requestApproval, clearApproval } = users
  const api: MessageJournal = {
    recordEvent,
    openMessage: messages.producers.openMessage,
    publishUserEvent,
    trackTask,
    requestApproval,
    clearApproval,
    migrate: async (wanted) => await migrate(pool, { ...schema, ...wanted }),
    async cleanup ({ olderThanDays }) {
      if (!Number.isInteger(olderThanDays) || olderThanDays < 1 || olderThanDays > MAX_RETENTION_DAYS) {
        throw new InvalidOptionError(`"olderThanDays" must be a whole number of days, from 1 to ${MAX_RETENTION_DAYS}; got ${shown(olderThanDays)}`)
      }
      return await cleanup(journal, olderThanDays)
    },
    stats: () => ({ viewers: viewers.size, topics: messages.feeds.size + users.feeds.size, producers: messages.producers.size })
  }
  app.decorate('journal', api)
  app.decorateReply('recordEvent', recordEvent)

  let base = ''
  function stream (reply: FastifyReply, message: Message, produce: Produce): FastifyReply {
    reply
      .header('x-message-id', message.messageId)
      .header('location', `${base}/messages/${message.messageId}/events`)
    try {
      return viewers.open(reply, messages.feeds, message.messageId, { start: START })
    } finally {
      messages.producers.run(message, produce) // whoever reads, if anybody can
    }
  }
  app.decorateReply('streamMessage', function (this: FastifyReply, message: Message | OpenMessageOptions, produce: Produce) {
    if (isMessage(message)) return stream(this, message, produce)
    if (!isOpenMessageOptions(message)) throw new NotAMessageError(message as unknown instanceof Promise ? 'a promise: an await is missing' : shown(message))
    return messages.producers.openMessage(message).then((opened) => stream(this, opened, produce))
  } as StreamMessage)
  await app.register(async (routes) => {
    base = routes.prefix.replace(/\/$/, '')
    useOwnCompilers(routes)
    const access = createAccess(messages, options)
    const serve = createServeStream(viewers, slots, options.overload)
    await routes.register(messageEvents, { access, serve, messages: messages.feeds, terminalTypes: messages.terminalTypes })
    await routes.register(messageStop, { access, stopper: messages.stopper })
    await routes.register(userEvents, { access, serve, users, push: options.push })
  }, { prefix: options.prefix ?? '' })

  app.addHook('onReady', async () => {
    await checkTables(app, pool, schema)
    countMessages(journal, closing.signal).catch((error: unknown) => {
      if (!closing.signal.aborted) log.error('count', { err: error }, 'journal: the newest numbers of old messages could not be counted; the first append to each of them does')
    })
  })
}

/** The header `Location` names the routes. */
function checkPrefix (prefix: string): void {
  if (PLAIN_PATH.test(prefix)) return
  throw new InvalidOptionError(`"prefix", and those around it, must be a path such as "/api", without parameters, which the header "Location" could not name; got ${JSON.stringify(prefix)}`)
}

/** For callers without types. */
function isMessage (message: unknown): message is Message {
  const { messageId, signal } = Object(message) as Partial<Message>
  return typeof messageId === 'string' && signal instanceof AbortSignal
}

function isOpenMessageOptions (options: unknown): options is OpenMessageOptions {
  return isPlainObject(options) && !('signal' in options)
}

/** Whatever the app has chosen for its own routes. */
function useOwnCompilers (routes: FastifyInstance): void {
  routes.setValidatorCompiler(TypeBoxValidatorCompiler)
  const serializer = SerializerSelector()({})
  routes.setSerializerCompiler(({ httpStatus = '', ...route }) => {
    const serializeError = serializer({ ...route, httpStatus })
    // The app's own error handler or hook may answer in a form of its own.
    return (answer) => answer instanceof Error ? serializeError(answer) : JSON.stringify(answer)
  })
}

/** Resolves when `done` does, or after `ms`. */
async function within (ms: number, done: Promise<void>): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms) // a server that does not answer must not keep the app from closing
    done.then(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}
