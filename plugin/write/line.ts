import type { Ending, Fence, Refusal } from '../postgres/appender.js'

/** The holder of a lease. Its events are numbered when they are sent. */
export interface Writer {
  readonly epoch: number
  /** The number of its next event. */
  next: number
}

/**
 * What became of an event.
 * - `committed`: its row is in the journal under `sequenceNo`, which may differ from the number it came with.
 *   `repeated`: an equal event was there before this call.
 * - a `Refusal`: it is not in the journal, because the message takes no events.
 * - `failed`: it is not in the journal, because of `error`. Another try might succeed.
 * - `invalid`: it is not in the journal. The database, or this library, refuses it as it is.
 * - `unknown`: it was sent, no answer came, and nobody could look for it. It may be in the journal.
 */
export type Outcome =
  | { kind: 'committed', sequenceNo: number, repeated: boolean }
  | { kind: Refusal, sequenceNo: number }
  | { kind: 'failed' | 'invalid' | 'unknown', sequenceNo: number, error: Error }

/** An outcome without the number. */
export type Verdict = { kind: Refusal } | { kind: 'failed' | 'invalid', error: Error }

/** An event on its way to the journal. */
export interface PendingEvent {
  messageId: string
  eventType: string
  /** A JSON object as text without line breaks, as `JSON.stringify` writes it. */
  payload: string
  /** Of the payload. */
  bytes: number
  /** `null`: a writer without a lease, whose event wants the number `sequenceNo`. */
  writer: Writer | null
  sequenceNo: number
  ending: Ending | null
  /** Called exactly once. */
  settle (outcome: Outcome): void
  /** Set by the committer: `performance.now()` past which it is not tried any more. */
  deadline: number
  /** Since when the event is doubtful: a try was sent, and its answer never came. `null`: no try is unanswered. */
  doubtfulSince: number | null
}

/** Events at the head of a line that are sent together. */
export interface PendingGroup {
  line: Line
  messageId: string
  epoch: number | null
  events: PendingEvent[]
}

/**
 * The waiting events of one message, in the order of the calls. Doubtful events are at its head and have one writer.
 * Until they are settled, an event behind them is sent only together with them, and they keep their numbers.
 */
export class Line {
  readonly messageId: string
  events: PendingEvent[] = NONE
  /**
   * `idle`: nothing waits. `ready`: it is in the lane's queue. `busy`: the first `sent` events are under way. `held`:
   * it waits until `heldUntil`, because the message's row is locked.
   */
  state: 'idle' | 'ready' | 'busy' | 'held' = 'idle'
  sent = 0
  heldUntil = 0
  holdMs = FIRST_HOLD_MS
  /** A fence for events that were answered as unknown. It is due before the next event. */
  due: Fence | null = null
  /** What the doubtful events become if they are not in the journal. `null`: they are tried again. */
  verdict: Verdict | null = null
  /** Why the last try failed. */
  error: Error | null = null

  constructor (messageId: string) {
    this.messageId = messageId
  }

  add (event: PendingEvent): void {
    if (this.events.length > 0) this.events.push(event)
    else this.events = [event] // no larger than it must be: most events find their line empty
  }

  isEmpty (): boolean {
    return this.events.length === 0 && this.due === null
  }

  /** Whether no event may be sent before the doubtful ones have been fenced off and looked for. */
  mustSettle (now: number): boolean {
    if (this.due !== null) return true
    const head = this.events[0]
    return head !== undefined && head.doubtfulSince !== null && (this.verdict !== null || head.deadline <= now)
  }

  doubtful (): PendingEvent[] {
    return this.events.filter((event) => event.doubtfulSince !== null)
  }

  /** The fence for the doubtful events and for those that were answered as unknown. */
  fence (): Fence | null {
    const last = this.doubtful().at(-1)
    if (last === undefined) return this.due
    return fenceOf(last, this.due)
  }

  /** Removes the first `count` events, which are committed. */
  shift (count: number): void {
    if (count === this.events.length) this.events = NONE
    else this.events.splice(0, count)
    this.state = this.isEmpty() ? 'idle' : 'ready'
    this.sent = 0
    this.holdMs = FIRST_HOLD_MS
    this.error = null
  }

  /**
   * Marks the next events that can be one group as under way: of one writer, with ascending numbers. The line must not
   * be empty.
   */
  take (maxEvents: number, maxBytes: number): PendingGroup {
    const writer = this.events[0]?.writer ?? null
    let bytes = 0
    let last = -1
    let count = 0
    for (const event of this.events) {
      if (event.writer !== writer || count === maxEvents || bytes >= maxBytes) break
      if (writer !== null && event.doubtfulSince === null) event.sequenceNo = Math.max(writer.next, last + 1)
      if (event.sequenceNo <= last) break
      count++
      last = event.sequenceNo
      bytes += event.bytes
      if (event.ending !== null) break
    }
    this.beBusy(count)
    return { line: this, messageId: this.messageId, epoch: writer?.epoch ?? null, events: this.events.slice(0, count) }
  }

  beBusy (sent: number): void {
    this.state = 'busy'
    this.sent = sent
  }

  /** Whether the row was locked since the last commit. */
  get wasHeld (): boolean { return this.holdMs > FIRST_HOLD_MS }

  /** Holds the line back because the message's row is locked. Each wait is twice as long as the one before. */
  hold (now: number): void {
    this.state = 'held'
    this.heldUntil = now + this.holdMs * (0.5 + Math.random() / 2)
    this.holdMs = Math.min(this.holdMs * 2, LAST_HOLD_MS)
  }
}

/** A fence for the event that covers another one, too. */
export function fenceOf ({ messageId, writer, sequenceNo }: PendingEvent, other: Fence | null): Fence {
  return { messageId, epoch: writer?.epoch ?? null, sequenceNo: Math.max(sequenceNo, other?.sequenceNo ?? sequenceNo) }
}

/** Shared by all empty lines, and never changed. */
const NONE: PendingEvent[] = []
const FIRST_HOLD_MS = 4
const LAST_HOLD_MS = 250
