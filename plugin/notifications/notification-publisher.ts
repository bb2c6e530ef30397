import type { RateLimitedLogger } from '../util/rate-limited-logger.js'
import { userStreamKey, userTopic } from '../wire/names.js'
import { serializePayload } from '../wire/payload.js'
import type { Publisher } from '../redis/publisher.js'
import { askAll, type Command, type Redis } from '../redis/commands.js'
import { isEventType, toStorableText } from '../wire/text.js'
import { userIdText } from '../user-id.js'
import { withId } from './notification-log.js'

/** What a notification is about. */
export interface UserEventOptions {
  /** What the notification is about, such as `{ kind: 'source', id: '…' }`. A page can filter by it. */
  scope?: object
}

/**
 * Adds a notification to the user's stream, then publishes it. Never throws and never rejects.
 *
 * Resolves with the entry's id when Redis has added it. Every reader of the user gets it, also one that connects later
 * with a cursor. Resolves with `null`, and a line in the log, when it was not added, as far as is known: for an empty
 * user or type, for a payload or scope that cannot be serialised or is larger than `maxPayloadBytes`, and when Redis is
 * away or did not answer within 5 s. Resolves with `null`, and no line, when the option `notifications` is false.
 *
 * If the answer is lost with the connection, ioredis sends the command again. Then the notification may be in the
 * stream twice, under two ids.
 */
export type PublishUserEvent = (
  userId: string | number | bigint, type: string, payload?: unknown, options?: UserEventOptions
) => Promise<string | null>

/** Adds notifications to users' streams, and publishes them. */
export interface UserPublisher {
  publishUserEvent: PublishUserEvent
  /** Takes no more notifications. Resolves when all are answered. */
  close (): Promise<void>
}

/** Whether, and for how long, notifications are kept. */
export interface UserPublisherOptions {
  notifications: boolean
  /** About how many entries a stream keeps. */
  streamMaxEntries: number
  maxPayloadBytes: number
  replayMaxAgeHours: number
}

interface Pending {
  userId: string
  type: string
  /** The envelope without its id. */
  envelope: string
  settle (id: string | null): void
}

const TIMEOUT_MS = 5_000
/** Past this many unanswered entries, Redis counts as frozen. */
const MAX_UNANSWERED = 10_000
/** How long a stream outlives its last replayable entry, in ms. */
const GRACE_MS = 3_600_000
const POSTPONE_MS = GRACE_MS / 2
/** How many streams whose expiry was postponed are remembered. */
const MAX_POSTPONED = 10_000
const HOUR_MS = 3_600_000

/** Batches the notifications of one turn of the event loop. */
export function createNotificationPublisher (
  redis: Redis, publisher: Publisher, log: RateLimitedLogger, options: UserPublisherOptions
): UserPublisher {
  const lifetimeMs = options.replayMaxAgeHours * HOUR_MS + GRACE_MS
  const postponedAt = new Map<string, number>()
  let waiting: Pending[] = []
  let unanswered = 0
  /** Set by `close`: called with the last answer. */
  let answered: (() => void) | undefined

  function refuse (userId: unknown, type: unknown, reason: string | Error): null {
    log.warn('userEvent', {
      userId,
      type,
      ...typeof reason === 'string' ? { reason } : { err: reason }
    }, 'journal: a notification was not published')
    return null
  }

  /**
   * Postpones the stream's expiry. So streams of users who never return are deleted when nothing in them can be
   * replayed.
   */
  function postponeEnd (userId: string): Command[] {
    const now = performance.now()
    if (options.replayMaxAgeHours === 0 || now - (postponedAt.get(userId) ?? -Infinity) < POSTPONE_MS) return []
    if (postponedAt.size >= MAX_POSTPONED) postponedAt.clear()
    postponedAt.set(userId, now)
    return [['PEXPIRE', userStreamKey(userId), lifetimeMs]]
  }

  async function flush (): Promise<void> {
    const batch = waiting
    waiting = []
    const entries = batch.map(({ userId, envelope }): Command =>
      ['XADD', userStreamKey(userId), 'MAXLEN', '~', options.streamMaxEntries, '*', 'event', envelope])
    try {
      const postponements = batch.flatMap(({ userId }) => postponeEnd(userId))
      const answers = await askAll(redis, TIMEOUT_MS, [...entries, ...postponements])
      publisher.publish(batch.flatMap(({ userId, envelope }, index) => {
        const id = answers[index]
        return typeof id === 'string' ? { topic: userTopic(userId), envelope: withId(envelope, id) } : []
      }))
      for (const [index, { userId, type, settle }] of batch.entries()) {
        const id = answers[index]
        settle(typeof id === 'string' ? id : refuse(userId, type, id as Error)) // XADD answers with an id or an error
      }
    } catch (error) {
      // ioredis rejects with nothing but errors
      for (const { userId, type, settle } of batch) settle(refuse(userId, type, error as Error))
    } finally {
      unanswered -= batch.length
      if (unanswered === 0) answered?.()
    }
  }

  function add (userId: string, type: string, envelope: string): Promise<string | null> {
    unanswered++
    return new Promise((resolve) => {
      if (waiting.push({ userId, type, envelope, settle: resolve }) === 1) queueMicrotask(flush)
    })
  }

  // A stream that is new after an outage has no expiry yet
  redis.on('ready', () => { postponedAt.clear() })

  async function prepare (
    user: unknown, eventType: unknown, payload: unknown, more: UserEventOptions | undefined
  ): Promise<string | null> {
    if (answered !== undefined) return refuse(user, eventType, 'the app is closed')
    const userId = userIdText(typeof user === 'string' ? toStorableText(user) : user) ?? ''
    if (userId === '') return refuse(user, eventType, 'userId is empty')
    if (!isEventType(eventType)) return refuse(user, eventType, 'type is empty')
    const type = toStorableText(eventType)
    const body = serializePayload(payload, options.maxPayloadBytes)
    if ('error' in body) return refuse(userId, type, body.error)
    const scope = serializePayload(more?.scope, options.maxPayloadBytes)
    if ('error' in scope) return refuse(userId, type, scope.error)
    if (unanswered >= MAX_UNANSWERED) {
      return refuse(userId, type, `${unanswered} notifications are waiting for Redis already`)
    }
    const head = JSON.stringify({ type, ts: new Date().toISOString(), user_id: userId, topic: userTopic(userId) })
    return await add(userId, type, `${head.slice(0, -1)},"scope":${scope.text},"payload":${body.text}}`)
  }

  const publishUserEvent: PublishUserEvent = async (userId, type, payload, more) => {
    if (!options.notifications) return null
    try {
      return await prepare(userId, type, payload, more)
    } catch (error) {
      return refuse(userId, type, error as Error) // an id that is none, a getter that throws
    }
  }

  return {
    publishUserEvent,
    async close () {
      await new Promise<void>((resolve) => {
        answered = resolve
        if (unanswered === 0) resolve()
      })
    }
  }
}
