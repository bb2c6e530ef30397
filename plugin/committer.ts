import { setTimeout as delay } from 'node:timers/promises'
import type { Journal, NewEvent } from './journal.js'
import { failureKind } from './postgres-errors.js'
import { findPlaces } from './places.js'

/**
 * What became of an event.
 * - `committed`: its row is in the journal under `event.sequenceNo`, which may not be the number it came with.
 *   `repeated`: the very same event had been there before this call.
 * - `missing`: there is no such message. `fenced`: another writer has taken the message over.
 * - `failed`: it could not be written, for `error`.
 */
export type Outcome =
  | { kind: 'committed', repeated: boolean }
  | { kind: 'missing' | 'fenced' }
  | { kind: 'failed', error: Error }

/** `event.sequenceNo` is the number that the event got, or would have got. */
export type Settle = (outcome: Outcome, event: NewEvent) => void

/** An event that waits for its commit. `settle` is called exactly once. */
export interface PendingEvent extends NewEvent {
  bytes: number
  /** `performance.now()` past which no further try begins. */
  deadline: number
  /** A try was made whose answer never came: the row may be there. */
  unsure: boolean
  settle: Settle
}

export interface CommitterOptions {
  /** How long an event may wait for a database that is away, in ms. */
  writeRetryMs: number
  /** How many bytes of payloads may wait in this process. */
  maxPendingBytes: number
}

export interface Committer {
  /**
   * Takes an event into its message's lane. Events of one message are committed in the order of these calls.
   * `settle` gets `failed` at once when `maxPendingBytes` would be exceeded.
   */
  add (event: NewEvent, payloadBytes: number, settle: Settle): void
  /** Resolves when nothing waits any more. */
  drained (): Promise<void>
}

/** Two lanes: while one waits for its commit to reach the disk, the other's rows are being sent. */
const LANES = 2
const MAX_BATCH_EVENTS = 1_000
const MAX_BATCH_BYTES = 4 * 1024 * 1024
/** What an event costs beside its payload, so that a flood of empty ones is bounded too. */
const EVENT_OVERHEAD_BYTES = 256
const FIRST_RETRY_MS = 25
const LAST_RETRY_MS = 1_000

/**
 * Group commit. Events that arrive while a lane's INSERT is under way wait for it and share the next one; an event
 * that finds its lane idle is sent in the same turn of the event loop. No timer is involved unless a try has failed.
 */
export function createCommitter (journal: Journal, options: CommitterOptions): Committer {
  const lanes = Array.from({ length: LANES }, () => createLane(journal))
  let pendingBytes = 0
  let pendingEvents = 0
  let onDrained: Array<() => void> = []

  function settled (bytes: number): void {
    pendingBytes -= bytes
    if (--pendingEvents > 0) return
    for (const resolve of onDrained) resolve()
    onDrained = []
  }

  return {
    add (event, payloadBytes, settle) {
      const bytes = payloadBytes + EVENT_OVERHEAD_BYTES
      if (pendingEvents > 0 && pendingBytes + bytes > options.maxPendingBytes) {
        settle({ kind: 'failed', error: new Error(`more than maxPendingBytes (${options.maxPendingBytes}) wait for the database`) }, event)
        return
      }
      pendingBytes += bytes
      pendingEvents++
      const lane = lanes[laneOf(event.messageId)]
      lane?.add({
        ...event,
        bytes,
        deadline: performance.now() + options.writeRetryMs,
        unsure: false,
        settle (outcome, pending) {
          settled(bytes)
          settle(outcome, pending)
        }
      })
    },
    drained () {
      return pendingEvents === 0 ? Promise.resolve() : new Promise((resolve) => { onDrained.push(resolve) })
    }
  }
}

/** A UUID's last digits are random in every version that is in use. */
function laneOf (messageId: string): number {
  return Number.parseInt(messageId.slice(-2), 16) % LANES
}

interface Lane {
  add (event: PendingEvent): void
}

function createLane (journal: Journal): Lane {
  let queue: PendingEvent[] = []
  let running = false

  async function run (): Promise<void> {
    await null // the calls of one turn share the first INSERT
    while (queue.length > 0) await commit(journal, takeBatch())
    running = false
  }

  function takeBatch (): PendingEvent[] {
    let bytes = 0
    let count = 0
    while (count < queue.length && count < MAX_BATCH_EVENTS && bytes < MAX_BATCH_BYTES) bytes += queue[count++]?.bytes ?? 0
    const batch = queue.slice(0, count)
    queue = queue.slice(count)
    return batch
  }

  return {
    add (event) {
      queue.push(event)
      if (running) return
      running = true
      run()
    }
  }
}

/** Resolves when every event of the batch is settled; never rejects. */
async function commit (journal: Journal, batch: PendingEvent[]): Promise<void> {
  let open = batch
  let retryMs = FIRST_RETRY_MS
  while (open.length > 0) {
    try {
      open = await attempt(journal, open)
    } catch (cause) {
      const error = toError(cause)
      const kind = failureKind(error)
      if (kind === 'transient') {
        for (const event of open) event.unsure = true
        open = expire(open, error)
        if (open.length > 0) await delay(retryMs * (0.5 + Math.random() / 2))
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS)
      } else if (kind === 'data' && open.length > 1) {
        const middle = open.length >> 1
        await commit(journal, open.slice(0, middle))
        open = open.slice(middle)
      } else {
        for (const event of open) event.settle({ kind: 'failed', error }, event)
        return
      }
    }
  }
}

/** One INSERT. Answers with the events that must be tried again: none, or all that were not in the table yet. */
async function attempt (journal: Journal, events: PendingEvent[]): Promise<PendingEvent[]> {
  try {
    const refusals = await journal.append(events)
    const refused = new Map(refusals.map(({ index, reason }) => [index, reason]))
    for (const [index, event] of events.entries()) {
      const kind = refused.get(index)
      event.settle(kind === undefined ? { kind: 'committed', repeated: false } : { kind }, event)
    }
    return []
  } catch (error) {
    if (failureKind(error) !== 'taken') throw error
    const { repeated, free } = findPlaces(events, await journal.findTaken(events))
    for (const event of repeated) event.settle({ kind: 'committed', repeated: !event.unsure }, event)
    return free
  }
}

function expire (events: PendingEvent[], error: Error): PendingEvent[] {
  const now = performance.now()
  const [expired, open] = [events.filter((event) => event.deadline <= now), events.filter((event) => event.deadline > now)]
  for (const event of expired) event.settle({ kind: 'failed', error }, event)
  return open
}

function toError (cause: unknown): Error {
  return cause instanceof Error ? cause : new Error(String(cause))
}
