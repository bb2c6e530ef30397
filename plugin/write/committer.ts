import type { Journal } from '../postgres/journal.js'
import { createLane } from './lane.js'
import type { Outcome, PendingEvent } from './line.js'

/** How long events wait, and how many. */
export interface CommitterOptions {
  /** How long an event that was not sent, or was refused for the moment, is tried, in ms. */
  writeRetryMs: number
  /** How long an event that was sent and got no answer waits until it has been looked for, in ms. */
  maxDoubtMs: number
  /** How many bytes of payloads may wait in this process. */
  maxPendingBytes: number
}

/** Brings events into the journal. */
export interface Committer {
  /**
   * Takes an event into its message's line. Events of one message are committed in the order of these calls. `settle`
   * gets `failed` at once after `close`, and when `maxPendingBytes` would be exceeded, unless nothing else waits.
   */
  add (event: PendingEvent): void
  /** Resolves when no event waits. */
  drained (): Promise<void>
  /** Answers all events that wait, without looking for them. Events under way are answered when their statement is. */
  close (): void
}

/** Two lanes: while one waits for its commit to reach the disk, the other's rows are being sent. */
const LANES = 2
/** How long a line without events is kept, in ms. */
const MAX_IDLE_MS = 10_000
/** What an event costs beside its payload, in bytes. It bounds a flood of empty events. */
const EVENT_OVERHEAD_BYTES = 256

/**
 * Group commit. Events that arrive while a lane's INSERT is under way share the next one. An event that arrives at an
 * idle lane is sent in the same turn of the event loop, without a timer.
 *
 * Postgres alone decides what became of an event. Timers only bound how long it is asked.
 */
export function createCommitter (journal: Journal, options: CommitterOptions): Committer {
  let closed = false
  let pendingBytes = 0
  let pendingEvents = 0
  let onDrained: Array<() => void> = []
  let timer: NodeJS.Timeout | undefined
  let timerAt = 0

  function settle (event: PendingEvent, outcome: Outcome): void {
    pendingBytes -= event.bytes + EVENT_OVERHEAD_BYTES
    pendingEvents--
    event.settle(outcome)
    if (pendingEvents > 0) return
    for (const resolve of onDrained) resolve()
    onDrained = []
  }

  /**
   * While nothing fails, this timer fires once in `writeRetryMs`, because deadlines come in the order of the calls. It
   * waits MAX_IDLE_MS at most, so that idle lines are dropped.
   */
  function watch (at: number): void {
    if (closed || at === Infinity || (timer !== undefined && timerAt <= at)) return
    clearTimeout(timer)
    const now = performance.now()
    timerAt = Math.min(at, now + MAX_IDLE_MS)
    timer = setTimeout(() => {
      timer = undefined
      watch(Math.min(...lanes.map((lane) => lane.expire())))
    }, Math.max(1, Math.ceil(timerAt - now)))
  }

  const lanes = Array.from({ length: LANES }, () => createLane({ journal, settle, watch, ...options }))

  function whyNot (bytes: number): string | null {
    if (closed) return 'the server is shutting down'
    const isFull = pendingEvents > 0 && pendingBytes + bytes > options.maxPendingBytes
    return isFull ? `more than maxPendingBytes (${options.maxPendingBytes}) wait for the database` : null
  }

  return {
    add (event) {
      const bytes = event.bytes + EVENT_OVERHEAD_BYTES
      const problem = whyNot(bytes)
      if (problem !== null) {
        return event.settle({ kind: 'failed', sequenceNo: event.sequenceNo, error: new Error(problem) })
      }
      pendingBytes += bytes
      pendingEvents++
      event.deadline = performance.now() + options.writeRetryMs
      lanes[laneOf(event.messageId)]?.add(event)
      watch(event.deadline)
    },
    drained () {
      return pendingEvents === 0 ? Promise.resolve() : new Promise((resolve) => { onDrained.push(resolve) })
    },
    close () {
      closed = true
      clearTimeout(timer)
      for (const lane of lanes) lane.close()
    }
  }
}

/** The last digits of a UUID are random in versions 4 and 7. With others, lanes share the load less evenly. */
function laneOf (messageId: string): number {
  return Number.parseInt(messageId.slice(-2), 16) % LANES
}
