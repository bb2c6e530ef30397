import { setTimeout as delay } from 'node:timers/promises'
import type { Journal } from '../postgres/journal.js'

const STRETCH = 1_000
/** Pause between two transactions, so that waiting statements can run, in ms. */
const PAUSE_MS = 10
const FIRST = '00000000-0000-0000-0000-000000000000'

/**
 * Counts `last_no` of the messages that are older than the column, in short transactions. Until it is counted, the
 * first append to a message takes one more trip. Rejects with pg's error; what was counted by then stays.
 */
export async function countMessages (
  journal: Pick<Journal, 'count' | 'isCounted' | 'setCounted'>, signal: AbortSignal
): Promise<void> {
  if (await journal.isCounted()) return
  let isWhole = true
  for (let after: string | null = FIRST; after !== null;) {
    if (signal.aborted) return
    const stretch = await journal.count(after, STRETCH)
    isWhole &&= stretch.skipped === 0
    after = stretch.last
    if (after !== null) await delay(PAUSE_MS)
  }
  if (isWhole) await journal.setCounted()
}
