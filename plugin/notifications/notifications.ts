import { createApprovals, type ClearApproval, type RequestApproval } from './approvals.js'
import { RedisUnavailableError } from '../errors.js'
import { createFeeds, type Feeds } from '../read/feeds.js'
import { userTopic } from '../wire/names.js'
import type { RateLimitedLogger } from '../util/rate-limited-logger.js'
import type { JournalOptions, PublicError } from '../options.js'
import type { Publisher } from '../redis/publisher.js'
import { createReadQueue } from '../read/read-queue.js'
import type { Redis } from '../redis/commands.js'
import { createReplayLimit } from './replay-limit.js'
import { FIRST } from '../wire/stream-id.js'
import type { Subscriber } from '../redis/topic.js'
import type { TailStart } from '../read/tail.js'
import { createTrackTask, type TrackTask } from './tasks.js'
import { createNotificationLog } from './notification-log.js'
import { createNotificationPublisher, type PublishUserEvent } from './notification-publisher.js'

/** Users' notifications: written to, and read from, Redis Streams. */
export interface Notifications {
  publishUserEvent: PublishUserEvent
  trackTask: TrackTask
  requestApproval: RequestApproval
  clearApproval: ClearApproval
  feeds: Feeds<string>
  /** Where a reader with this cursor begins; `null`: without one. @throws RedisUnavailableError, ReplayBudgetError */
  tailStart (userId: string, cursor: string | null): Promise<TailStart<string>>
  /** Finds what the readers of this process have missed. Never rejects. */
  reconcile (): Promise<void>
  /** Resolves when every published notification is answered. */
  close (): Promise<void>
}

/** What the notifications are built on. */
export interface NotificationsParts {
  redis: Redis
  publisher: Publisher
  subscriber: Subscriber
  log: RateLimitedLogger
  publicError: PublicError
}

/** How many reads run at once. Redis executes them one after another, so more would only wait there. */
const MAX_CONCURRENT_READS = 64

/** Puts the parts of the notifications together: publisher, tasks, approvals, readers. */
export function createNotifications (
  { redis, publisher, subscriber, log, publicError }: NotificationsParts, options: JournalOptions
): Notifications {
  const userPublisher = createNotificationPublisher(redis, publisher, log, options)
  const { publishUserEvent } = userPublisher
  const { progressMs, maxPayloadBytes } = options
  const frames = createNotificationLog(redis, options)
  const reads = createReadQueue(MAX_CONCURRENT_READS, log)
  const spendReplay = createReplayLimit(redis, log, options)
  const feeds = createFeeds<string>({
    start: FIRST,
    topic: userTopic,
    log: frames.log,
    reads,
    subscriber
  })

  return {
    publishUserEvent,
    trackTask: createTrackTask({ publishUserEvent, publicError, log, progressMs, maxPayloadBytes }),
    ...createApprovals(publishUserEvent),
    feeds,
    async tailStart (userId, cursor) {
      // Asked for a reader with a cursor, too: without Redis there is nothing to read
      const newest = await frames.newest(userId).catch((cause: unknown) => {
        throw new RedisUnavailableError({ cause })
      })
      if (cursor === null) return { start: newest }
      await spendReplay(userId)
      return { start: cursor, maxRows: options.replayMaxPerRequest }
    },
    async reconcile () {
      const known = feeds.known()
      if (known.size === 0) return
      try {
        for (const [userId, id] of await frames.newer(known)) feeds.get(userId)?.advance(id)
      } catch (error) {
        log.error('reconcileUsers', { err: error },
          'journal: the open viewers could not be compared with the notifications')
      }
    },
    async close () {
      reads.close()
      await userPublisher.close()
    }
  }
}
