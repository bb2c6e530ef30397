import { JournalClientError } from './errors.js'
import type { ConnectionOptions, Health } from './options.js'

/** Decides when to try again, and when to give up. Reports the connection's health. */
export interface RetryPolicy {
  /** The server's `retry:`, in ms. */
  serverRetry (retryMs: number): void
  opened (): void
  /** Called when a new event has come. */
  progressed (): void
  /** Called when the connection has closed. It was good up to this time, if it was opened. */
  closed (until: number): void
  /** Called when there are new headers. The waits begin again. */
  reset (): void
  /**
   * How long to wait after a failure, in ms: what the server asks for, and by `backoffMs`. @throws JournalClientError
   * after too many errors.
   */
  delays (failure: JournalClientError): [toldMs: number, backoffMs: number]
  setHealth (health: Health): void
}

const TOO_MANY_REQUESTS = 429

/** Counts failures and errors by the caller's options. */
export function createRetryPolicy ({
  backoffMs = [0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000], healthyMs = 2_000, maxErrors = 20, onHealth
}: ConnectionOptions): RetryPolicy {
  /** Failures since the last good connection. They choose the wait. */
  let failures = 0
  /** Failures since the last event, or good connection. They decide when to give up. */
  let errors = 0
  let retryMs = 0
  let openedAt = Infinity
  let current: Health | undefined

  function say (health: Health): void {
    if (health === current) return
    current = health
    onHealth?.(health)
  }

  return {
    serverRetry (ms) { retryMs = ms },
    opened () {
      openedAt = Date.now()
      say('healthy')
    },
    progressed () { errors = 0 },
    closed (until) {
      if (until - openedAt >= healthyMs) failures = errors = 0
      openedAt = Infinity
    },
    reset () { failures = 0 },
    delays (failure) {
      // While the browser is offline errors do not count: the event `online` will follow
      if (globalThis.navigator?.onLine !== false) errors++
      if (errors >= maxErrors) {
        const message = `Gave up after ${errors} errors: ${failure.message}`
        throw new JournalClientError('FST_JOURNAL_CLIENT_GAVE_UP', message, failure.status, null, failure)
      }
      // After a 429 the waits grow twice as fast
      if (failure.status === TOO_MANY_REQUESTS) failures += 2
      const wait = backoffMs[Math.min(failures++, backoffMs.length - 1)] ?? 0
      say(failures > 1 ? 'unhealthy' : 'connecting')
      return [failure.retryAfterMs ?? retryMs, wait * (0.8 + 0.4 * Math.random())]
    },
    setHealth: say
  }
}
