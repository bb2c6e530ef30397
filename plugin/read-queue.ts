import { setTimeout as delay } from 'node:timers/promises'
import type { LimitedLog } from './limited-log.js'

/**
 * Bounds how many reads of the journal are under way in this process, so that a crowd that reconnects at once leaves
 * the app's pool to the app. A read that fails is tried again until it succeeds: readers wait for a database that
 * is away, and go on by themselves.
 */
export interface ReadQueue {
  /** Rejects only when the queue is closed. */
  run<T> (read: () => Promise<T>): Promise<T>
  close (): void
}

const FIRST_RETRY_MS = 50
const LAST_RETRY_MS = 1_000

export function createReadQueue (maxConcurrent: number, log: LimitedLog): ReadQueue {
  const closing = new AbortController()
  const waiting: Array<() => void> = []
  let running = 0

  /** Holds its place while it waits for the database: what is behind it could not be read either. */
  async function persist<T> (read: () => Promise<T>, retryMs = FIRST_RETRY_MS): Promise<T> {
    closing.signal.throwIfAborted()
    try {
      return await read()
    } catch (error) {
      log.error('read', { err: error }, 'journal: a read failed and will be tried again')
    }
    await delay(retryMs * (0.5 + Math.random() / 2), undefined, { signal: closing.signal })
    return await persist(read, Math.min(retryMs * 2, LAST_RETRY_MS))
  }

  return {
    async run (read) {
      if (running < maxConcurrent) running++
      else await new Promise<void>((resolve) => { waiting.push(resolve) }) // until a place is handed over
      try {
        return await persist(read)
      } finally {
        const next = waiting.shift()
        if (next === undefined) running--
        else next()
      }
    },
    close () { closing.abort() }
  }
}
