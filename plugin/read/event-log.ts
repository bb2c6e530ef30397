/**
 * The rows that a tail reads: a message's events by sequence number, or a user's notifications by stream id. The tail
 * knows positions through these methods alone.
 */
export interface EventLog<Position> {
  /**
   * The next rows past `cursor` of the message, or user, `key`. `hasPace`: the reader takes pages as fast as they come,
   * and may be given a larger one. `isRetry`: the same read has just failed. Rejects when the store cannot be asked.
   */
  read (key: string, cursor: Position, hasPace: boolean, isRetry: boolean): Promise<Page<Position>>
  /** Negative, zero or positive, as `a` stands before, at or behind `b`. */
  compare (a: Position, b: Position): number
  /** Whether nothing can stand between the two: a reader at `cursor` may take `position` without a look at the log. */
  isNext (cursor: Position, position: Position): boolean
}

/** Entries behind a cursor, in order, as frames. */
export interface Page<Position> {
  /** The rows' frames, one after another; without rows there are none. */
  frames: readonly Buffer[]
  /** How many rows its frames show. */
  rows: number
  /** The position of the last row; without rows, the cursor that was asked for, or the one that takes its place. */
  last: Position
  /** What the last row's type says of the end; `null`: nothing, or there are no rows. */
  terminal: End | null
  /** The end of the stream, if it has ended. */
  ends: End | null
  /** Whether a row with a terminal type ends the stream when nothing follows it; and how, if not as its type says. */
  typeEnds: End | boolean
  /** Nothing stood past `last` when the page was read. */
  complete: boolean
}

/** How a stream ends; readers are told in a comment. */
export type End = string

/** A row that was announced while it was new. */
export interface LogEntry<Position> {
  position: Position
  frame: Buffer
  /** As in `Page`. */
  terminal: End | null
  /** The stream has ended with this row. */
  ends: End | null
}

/** What a topic says. */
export type Announcement<Position> =
  | { kind: 'entry', entry: LogEntry<Position> }
  /** An event that is not in the log: it has no position, and does not move a cursor. */
  | { kind: 'aside', frame: Buffer }
  /** There may be something new in the log. */
  | { kind: 'hint' }
