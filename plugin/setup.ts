import type { FastifyInstance } from 'fastify'
import { messageEvents } from '../routes/message-events.js'
import { messageStop } from '../routes/message-stop.js'
import { createServeStream } from '../routes/serve-stream.js'
import { userEvents } from '../routes/user-events.js'
import { createAccess } from '../routes/access.js'
import { useOwnCompilers } from '../routes/compilers.js'
import { createApi, createStreamMessage } from './api.js'
import { createConnection, statementTimeout } from './postgres/connection.js'
import { InvalidOptionError } from './errors.js'
import { startLifecycle } from './lifecycle.js'
import { createJournal } from './postgres/journal.js'
import { createRateLimitedLogger } from './util/rate-limited-logger.js'
import { createMessages } from './messages/messages.js'
import { migrate } from './ops/migrate.js'
import type { JournalOptions } from './options.js'
import { defaultPublicError } from './public-error.js'
import { createPublisher } from './redis/publisher.js'
import { bindToRequests } from './messages/request-binding.js'
import { checkTables, postgresOf, redisOf } from './ops/preflight.js'
import { createSlots, RENEW_MS } from '../routes/connection-limit.js'
import { createScripts, createStatements, tablesOf } from './postgres/statements.js'
import { STOP_TOPIC } from './messages/stop.js'
import { createSubscriber } from './redis/subscriber.js'
import { createGreet } from './postgres/failover.js'
import { createNotifications } from './notifications/notifications.js'
import { createViewers } from './read/viewers.js'

const PLAIN_PATH = /^\/?([\w.~-]+\/)*[\w.~-]*$/

/** Builds the parts, and connects them to the app. */
export async function setup (app: FastifyInstance, options: JournalOptions): Promise<void> {
  for (const prefix of [app.prefix, options.prefix ?? '']) checkPrefix(prefix)
  const pool = postgresOf(app, options)
  const redis = redisOf(app, options)
  const log = createRateLimitedLogger(app.log)
  // Without a listener, an idle connection that the server ends would end the process
  pool.on('error', (error) => { log.warn('pool', { err: error }, 'journal: an idle Postgres connection failed') })
  redis.on('error', (error: Error) => { log.warn('redis', { err: error }, 'journal: the Redis connection failed') })

  const schema = options.schema === undefined ? {} : { schema: options.schema }
  if (options.migrate) await migrate(pool, schema)
  if (options.identify === false) app.log.warn('journal: "identify" is false, so everyone may read every message')

  const tables = tablesOf(options.schema)
  const greet = createGreet(tables, statementTimeout(options.writeRetryMs), log)
  const journal = createJournal(
    createConnection(pool, createStatements(tables), options.writeRetryMs, greet), createScripts(tables))
  let onHealth: (() => void) | null = null
  const subscriber = createSubscriber(redis, log, () => { onHealth?.() })
  const publisher = createPublisher(redis, log)
  const parts = { publisher, subscriber, log, publicError: options.publicError ?? defaultPublicError }
  const messages = createMessages({ journal, logger: app.log, onOpened: bindToRequests(app), ...parts }, options)
  const users = createNotifications({ redis, ...parts }, options)
  const viewers = createViewers(options)
  const slots = createSlots(redis, options.maxConnectionsPerUser, log)

  subscriber.subscribe(STOP_TOPIC, messages.stopper)
  app.addHook('onReady', async () => { await checkTables(app, pool, schema) })
  onHealth = startLifecycle(app, {
    journal, subscriber, publisher, messages, users, viewers, slots: { renewMs: RENEW_MS, ...slots }, log
  }, options)

  app.decorate('journal', createApi({ journal, pool, messages, users, viewers }, options))
  app.decorateReply('recordEvent', messages.recordEvent)
  let base = ''
  app.decorateReply('streamMessage', createStreamMessage({ messages, viewers }, () => base))
  await app.register(async (routes) => {
    base = routes.prefix.replace(/\/$/, '')
    useOwnCompilers(routes)
    const access = createAccess(messages, options)
    const serve = createServeStream(viewers, slots, options.overload)
    await routes.register(
      messageEvents, { access, serve, messages: messages.feeds, terminalTypes: messages.terminalTypes })
    await routes.register(messageStop, { access, stopper: messages.stopper })
    await routes.register(userEvents, { access, serve, users, notifications: options.notifications })
  }, { prefix: options.prefix ?? '' })
}

/** The header `Location` names the routes. */
function checkPrefix (prefix: string): void {
  if (PLAIN_PATH.test(prefix)) return
  const why = 'without parameters, which the header "Location" could not name'
  throw new InvalidOptionError(
    `"prefix", and those around it, must be a path such as "/api", ${why}; got ${JSON.stringify(prefix)}`)
}
