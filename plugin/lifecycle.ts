import type { FastifyInstance } from 'fastify'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { HANDOVER_TOPIC, type Messages } from './messages/messages.js'
import type { Notifications } from './notifications/notifications.js'
import { countMessages } from './ops/count.js'
import { cleanup } from './ops/retention.js'
import type { JournalOptions } from './options.js'
import type { Journal } from './postgres/journal.js'
import type { Viewers } from './read/viewers.js'
import type { Publisher } from './redis/publisher.js'
import type { Subscriber } from './redis/topic.js'
import { repeat, within } from './util/interval.js'
import type { RateLimitedLogger } from './util/rate-limited-logger.js'

/** What runs while the app does, and ends with it. */
export interface LifecycleParts {
  journal: Journal
  subscriber: Subscriber
  publisher: Publisher
  messages: Messages
  users: Notifications
  viewers: Viewers
  /** Renews the users' connection slots every `renewMs`, and gives them back at the end. Neither rejects. */
  slots: { renewMs: number, renew (): Promise<void>, close (): Promise<void> }
  log: RateLimitedLogger
}

/** How long `app.close()` waits for what was recorded to be committed, in ms. */
const FLUSH_MS = 800
/** How often the logs are polled while Redis gives no hints, in ms. */
const POLL_MS = 300
/** After how long a lease is tried again whose message was locked, in ms. */
const LOCKED_LEASE_MS = 500
/** How often old events are deleted, in ms. Short enough for processes that do not live long. */
const RETENTION_INTERVAL_MS = 600_000

/**
 * Starts what repeats, and ends everything, in order, when the app closes. Returns a function that runs the polling
 * tasks at once; to be called when Redis has come back, or is gone.
 */
export function startLifecycle (app: FastifyInstance, parts: LifecycleParts, options: JournalOptions): () => void {
  const { journal, subscriber, publisher, messages, users, viewers, slots, log } = parts
  const { reconcileMs, heartbeatMs, retentionDays } = options
  const closing = new AbortController()
  const pollMs = (): number => subscriber.healthy ? reconcileMs : Math.min(POLL_MS, reconcileMs)
  const beatMs = (): number => {
    const ms = subscriber.healthy ? heartbeatMs : Math.min(reconcileMs, heartbeatMs)
    return messages.producers.isBehind ? Math.min(LOCKED_LEASE_MS, ms) : ms
  }

  async function deleteOld (): Promise<void> {
    if (retentionDays === 0) return
    await cleanup(journal, retentionDays).catch((error: unknown) => {
      log.error('retention', { err: error }, 'journal: old events could not be deleted')
    })
  }

  const judging = repeat(pollMs, messages.judge)
  const pollable = [
    repeat(pollMs, messages.reconcile),
    repeat(pollMs, users.reconcile),
    judging,
    repeat(beatMs, messages.producers.beat)
  ]
  const background = [repeat(() => slots.renewMs, slots.renew), repeat(() => RETENTION_INTERVAL_MS, deleteOld)]
  if (options.takeOver !== undefined) {
    subscriber.subscribe(HANDOVER_TOPIC, { subscribed () {}, message: judging.runNow })
  }

  app.addHook('onReady', async () => {
    countMessages(journal, closing.signal).catch((error: unknown) => {
      if (!closing.signal.aborted) {
        log.error('count', { err: error },
          'journal: old messages could not be counted; the first append to each of them does')
      }
    })
  })
  app.addHook('preClose', async () => {
    viewers.close()
    messages.producers.close()
  })
  app.addHook('onClose', async () => {
    closing.abort()
    for (const repetition of [...pollable, ...background]) repetition.stop()
    await Promise.all([
      within(FLUSH_MS, messages.drained().then(messages.handOver)),
      within(FLUSH_MS, users.close()),
      slots.close()
    ])
    await nextTurn() // in which the last hints are published
    // The app's client sends QUIT next. If more followed it, Redis would cut the connection without an answer
    publisher.close()
    messages.close()
    subscriber.close()
  })
  return () => { for (const repetition of pollable) repetition.runNow() }
}
