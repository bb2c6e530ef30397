import { setTimeout as delay } from 'node:timers/promises'
import type { Journal } from '../postgres/journal.js'

/** What `cleanup` deletes. */
export interface CleanupOptions {
  /** The age, in whole days of at least 1, past which events, and messages without events, are deleted. */
  olderThanDays: number
}

/** How many rows were deleted. */
export interface Cleaned {
  events: number
  messages: number
}

const BATCH_ROWS = 1_000
/** Pause between two batches, so that waiting statements can run, in ms. */
const PAUSE_MS = 10

/**
 * Deletes in small transactions, which hold no lock for long. One process at a time deletes: while another does,
 * nothing is deleted here. Rejects with pg's error; what was deleted by then stays deleted.
 */
export async function cleanup (journal: Journal, olderThanDays: number): Promise<Cleaned> {
  async function deleteAll (what: 'events' | 'messages'): Promise<number> {
    let total = await journal.deleteOld(what, olderThanDays, BATCH_ROWS)
    for (let deleted = total; deleted === BATCH_ROWS; total += deleted) {
      await delay(PAUSE_MS)
      deleted = await journal.deleteOld(what, olderThanDays, BATCH_ROWS)
    }
    return total
  }

  const events = await deleteAll('events')
  return { events, messages: await deleteAll('messages') }
}
