/**
 * What a tail reads: a message's events by sequence number, or a user's notifications by stream id. The tail compares
 * positions only by these methods.
 */
export interface EventLog<Position> {
  /**
   * The next rows past `cursor` of the message or user `key`. `hasPace`: the reader takes pages as fast as they come,
   * and may get a larger one. `isRetry`: the same read has just failed. Rejects when the store cannot be asked.
   */
  read (key: string, cursor: Position, hasPace: boolean, isRetry: boolean): Promise<Page<Position>>
  /** Negative, zero or positive, when `a` is before, at or after `b`. */
  compare (a: Position, b: Position): number
  /**
   * Whether nothing can be between the two, so that a reader at `cursor` may take `position` without reading the log.
   */
  isNext (cursor: Position, position: Position): boolean
  /** What an envelope on the topic announces; `null`: nothing, or it is no envelope. Never throws. */
  decode (envelope: string): Announcement<Position> | null
}

/** Entries behind a cursor, in order, as frames. */
export interface Page<Position> {
  /** The rows' frames, one after another; without rows there are none. */
  frames: readonly Buffer[]
  /** How many rows its frames show. */
  rows: number
  /** The position of the last row. Without rows: the cursor that was asked for, or one that replaces it. */
  last: Position
  /** The end that the last row's type stands for; `null`: none. */
  terminal: End | null
  /** The end of the stream, if it has ended. */
  ends: End | null
  /**
   * Whether a row with a terminal type ends the stream when nothing follows it. An End in its place: it does, and the
   * stream ends with that.
   */
  typeEnds: End | boolean
  /** Whether nothing was past `last` when the page was read. `false`: there may be more. */
  complete: boolean
}

/** How a stream ends. Readers get it in a comment. */
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

/** The meaning of an envelope. */
export type Announcement<Position> =
  | { kind: 'entry', entry: LogEntry<Position> }
  /** An event that is not in the log. It has no position, and moves no cursor. */
  | { kind: 'uncommitted', frame: Buffer }
  /** The log goes on up to `position` at least. Without it: there may be something new in the log. */
  | { kind: 'hint', position?: Position }
