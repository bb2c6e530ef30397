import { JournalClientError } from './errors.js'
import type { ConnectionOptions, Health } from './options.js'

/** How a connection is doing, when to try again, and when to stop trying. */
export interface RetryPolicy {
  /** The server's `retry:`, in ms. */
  serverRetry (retryMs: number): void
  opened (): void
  /** An event has come that was not there before. */
  progressed (): void
  /** The connection was good up to this time, if it was opened at all. */
  closed (until: number): void
  /** Trying again is promising now. */
  reset (): void
  /**
   * How long to wait, in ms: what the server wants in any case, and what is wise. @throws JournalClientError after too
   * many errors.
   */
  delays (failure: JournalClientError): [toldMs: number, backoffMs: number]
  setHealth (health: Health): void
}

const TOO_MANY_REQUESTS = 429

/** Counts failures and errors by the caller's options. */
export function createRetryPolicy ({
  backoffMs = [0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000], healthyMs = 2_000, maxErrors = 20, onHealth
}: ConnectionOptions): RetryPolicy {
  /** Picks the wait: failures since the last good connection. */
  let failures = 0
  /** Decides when to give up: failures since the last event, or good connection. */
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
      // While the browser is offline nothing counts: `online` will tell
      if (globalThis.navigator?.onLine !== false) errors++
      if (errors >= maxErrors) {
        const message = `Gave up after ${errors} errors: ${failure.message}`
        throw new JournalClientError('FST_JOURNAL_CLIENT_GAVE_UP', message, failure.status, null, failure)
      }
      // One that asks for less gets less: two steps further than any other
      if (failure.status === TOO_MANY_REQUESTS) failures += 2
      const wait = backoffMs[Math.min(failures++, backoffMs.length - 1)] ?? 0
      say(failures > 1 ? 'unhealthy' : 'connecting')
      return [failure.retryAfterMs ?? retryMs, wait * (0.8 + 0.4 * Math.random())]
    },
    setHealth: say
  }
}
