import { setMaxListeners } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import type { RateLimitedLogger } from '../util/rate-limited-logger.js'

/**
 * Bounds how many reads of one log run at once in this process. Otherwise a crowd that reconnects would take the app's
 * pool. A failed read is tried again until it succeeds, so readers wait for a database that is away and then go on.
 */
export interface ReadQueue {
  /**
   * Runs `read`, again and again until it succeeds. Rejects only when the queue is closed. `isRetry`: the read has
   * failed before.
   */
  run<T> (read: (isRetry: boolean) => Promise<T>): Promise<T>
  /**
   * Fail-fast variant: rejects as `read` does, instead of retrying, and does not wait for its turn while reads fail.
   */
  once<T> (read: () => Promise<T>): Promise<T>
  close (): void
}

const FIRST_RETRY_MS = 50
const LAST_RETRY_MS = 1_000

interface Waiter {
  patient: boolean
  enter (hasPlace: boolean): void
}

/** Runs at most `maxConcurrent` reads at once. */
export function createReadQueue (maxConcurrent: number, log: RateLimitedLogger): ReadQueue {
  const closing = new AbortController()
  setMaxListeners(0, closing.signal) // one for each read that waits to be tried again
  let waiting: Waiter[] = []
  let running = 0
  let failing = 0

  /** Waits for a turn. Resolves with whether it must be given back. */
  async function enter (patient: boolean): Promise<boolean> {
    if (running < maxConcurrent) {
      running++
      return true
    }
    if (!patient && failing > 0) return false
    return await new Promise<boolean>((resolve) => { waiting.push({ patient, enter: resolve }) })
  }

  function leave (): void {
    const next = waiting.shift()
    if (next === undefined) running--
    else next.enter(true) // the place is handed over
  }

  async function fail (retryMs: number): Promise<void> {
    failing++
    const impatient = waiting.filter(({ patient }) => !patient)
    waiting = waiting.filter(({ patient }) => patient)
    for (const waiter of impatient) waiter.enter(false)
    await delay(retryMs, undefined, { signal: closing.signal }).finally(() => { failing-- })
  }

  /** Keeps its turn while it waits for the database, because the reads behind it would fail, too. */
  async function persist<T> (
    read: (isRetry: boolean) => Promise<T>, retryMs = FIRST_RETRY_MS, isRetry = false
  ): Promise<T> {
    closing.signal.throwIfAborted()
    try {
      return await read(isRetry)
    } catch (error) {
      log.error('read', { err: error }, 'journal: a read failed and will be tried again')
    }
    await fail(retryMs * (0.5 + Math.random() / 2))
    return await persist(read, Math.min(retryMs * 2, LAST_RETRY_MS), true)
  }

  return {
    async run (read) {
      await enter(true)
      try {
        return await persist(read)
      } finally {
        leave()
      }
    },
    async once (read) {
      const entered = await enter(false)
      try {
        return await read()
      } finally {
        if (entered) leave()
      }
    },
    close () { closing.abort() }
  }
}
