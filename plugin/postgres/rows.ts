import type { MessageStatus } from '../wire/status.js'

/** What the journal reads and writes: rows, and decisions about them. */

export interface JournalRow {
  sequenceNo: number
  eventType: string
  payload: string
}

/** The message's state in the same snapshot as its rows. */
export interface ReadState {
  status: MessageStatus
  /** Whether the message has, or had, a lease. */
  isLeased: boolean
  /** The number of the event that ended it; `null` while it streams, and while that event is still to be written. */
  endedNo: number | null
}

/** The frames of some rows, one after another. */
export interface JournalFrames {
  rows: number
  /** The last row's number. */
  sequenceNo: number
  eventType: string
  text: string
}

/** `state`: `null` when the message was deleted. */
export interface FramesRead {
  parts: JournalFrames[]
  state: ReadState | null
}

/** `state`: `null` when the message was deleted. */
export interface RowsRead {
  rows: JournalRow[]
  state: ReadState | null
}

/** A message's row, as routes show it to the app. */
export interface MessageRow {
  messageId: string
  userId: string | null
  status: MessageStatus
  createdAt: Date
}

/** A message and where its journal ends: `last` is `null` while there are no events. */
export interface MessageState extends MessageRow, ReadState {
  last: JournalRow | null
  /** The next event's number is above it. `null`: not counted yet. */
  lastNo: number | null
}

/** A lease, and where the message's events go on. */
export interface OpenedMessage {
  epoch: number
  /** When its row was made, in s. Tells it from a message of the same id that was deleted. */
  createdAt: string
  /** The number of the message's newest event; -1 when it has none. */
  latest: number
  /** The next event's number is above it. It is `latest` or higher. */
  lastNo: number
}

/** A message whose row is locked until the transaction ends. Ages are in ms, by the database's clock. */
export interface LockedMessage {
  messageId: string
  userId: string | null
  status: MessageStatus
  error: string | null
  epoch: number
  endedNo: number | null
  /** The next event's number is above it. */
  lastNo: number
  openToken: string | null
  /** As OpenedMessage has it. */
  createdAt: string
  handedOver: boolean
  /** Since the last heartbeat; `null`: there never was one. Below zero: the clock has been set back. */
  heartbeatAgeMs: number | null
  /** Since the producer opened the message, or called `touch`. */
  touchedAgeMs: number
  /** The newest event. */
  newest: (JournalRow & { ageMs: number }) | null
}

/** The event that ends a message. `sequenceNo` `null`: it is not written yet. */
export type EndingEvent = Pick<JournalRow, 'eventType' | 'payload'> & { sequenceNo: number | null }

/** What to do with a locked message. `null`: nothing */
export type Decision =
  /**
   * End it with this status by `event`, which is written unless it has a number. `fence`: under a new epoch, if it has
   * a lease.
   */
  | { kind: 'end', status: MessageStatus, error: string | null, event: EndingEvent, fence: boolean }
  /** Make it this process's, under a new epoch. */
  | { kind: 'claim' }
  /** Set its last heartbeat to now. */
  | { kind: 'renew' }
  | null

/**
 * What was done. `locked`: nothing, because somebody else holds the row, or there is no such message. `kept`: nothing,
 * as decided. `lastNo`: the number of the event that ended it, or the newest one.
 */
export type Decided =
  | { kind: 'locked' | 'kept' }
  | { kind: 'ended' | 'claimed', epoch: number, lastNo: number, message: LockedMessage }

/** What a reader should know of a message that has something new. */
export interface Inspection {
  messageId: string
  /** `null`: the message was deleted. */
  status: MessageStatus | null
  /** The number of the event that ended it; `null`: there is none yet. */
  endedNo: number | null
  /** The newest number; -1 when there are no events. */
  latest: number
}

/** A message that may have lost its producer. Ages are in ms, by the database's clock. */
export interface Candidate {
  messageId: string
  /** Since the last heartbeat; `null`: there never was one. Below zero: the clock has been set back. */
  heartbeatAgeMs: number | null
  handedOver: boolean
  /** Of a message without a heartbeat: its age, and its newest event. */
  ageMs: number
  newest: (Pick<JournalRow, 'eventType' | 'payload'> & { ageMs: number }) | null
}

/** One look for messages without a producer. */
export interface Look {
  /** The database's time, in ms. */
  nowMs: number
  candidates: Candidate[]
  /** Where the next look at messages without a heartbeat begins; `null`: at their beginning. */
  next: string | null
}

/** The right to produce a message; it is lost when the row has another epoch. */
export interface Lease {
  messageId: string
  epoch: number
}
