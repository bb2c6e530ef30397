import { setTimeout as delay } from 'node:timers/promises'
import type { Journal } from '../postgres/journal.js'

/** What `cleanup` deletes. */
export interface CleanupOptions {
  /** Events, and messages that have none left, are deleted once they are older; whole days, at least 1. */
  olderThanDays: number
}

/** How many rows were deleted. */
export interface Cleaned {
  events: number
  messages: number
}

const BATCH_ROWS = 1_000
/** A breath between two batches, for the statements that wait behind one. */
const PAUSE_MS = 10

/**
 * Deletes in small transactions, none of which locks a row for long. Only one process at a time does it: where
 * another is at work, nothing is deleted here. Rejects with pg's error; what was deleted by then stays deleted.
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
