import { setTimeout as delay } from 'node:timers/promises'

/** Time as the pace sees it, so that a test can turn it by hand. `wait` rejects when the signal aborts. */
export interface Clock {
  now: () => number
  wait: (ms: number, signal: AbortSignal) => Promise<void>
}

const realClock: Clock = {
  now: () => performance.now(),
  wait: async (ms, signal) => { await delay(ms, undefined, { signal }) }
}

/**
 * Yields so many items a second by the clock, the first one at once: a slow reader of the items makes up for lost time
 * and never makes the pace drift. Ends without an error when the signal aborts.
 */
export async function * pace<T> (items: Iterable<T>, perSecond: number, signal: AbortSignal, clock: Clock = realClock): AsyncGenerator<T, undefined> {
  const startedAt = clock.now()
  let count = 0
  for (const item of items) {
    const early = startedAt + count++ * 1000 / perSecond - clock.now()
    if (early > 0) await clock.wait(early, signal).catch(ignoreAbort(signal))
    if (signal.aborted) return
    yield item
  }
}

const ignoreAbort = (signal: AbortSignal) => (error: unknown): void => {
  if (!signal.aborted) throw error
}
