/**
 * The rows that a tail reads: a message's events by sequence number, or a user's notifications by stream id. The tail
 * knows positions through these methods alone.
 */
export interface Log<Position> {
  /**
   * The next rows past `cursor` of the message, or user, `key`. `hasPace`: the reader takes pages as fast as they come, and
   * may be given a larger one. Rejects when the store cannot be asked.
   */
  read (key: string, cursor: Position, hasPace: boolean): Promise<Page<Position>>
  /** Negative, zero or positive, as `a` stands before, at or behind `b`. */
  compare (a: Position, b: Position): number
  /** Whether nothing can stand between the two: a reader at `cursor` may take `position` without a look at the log. */
  isNext (cursor: Position, position: Position): boolean
}

export interface Page<Position> {
  /** The rows' frames, one after another; without rows there are none. */
  frames: readonly Buffer[]
  /** How many rows its frames show. */
  rows: number
  /** The position of the last row; without rows, the cursor that was asked for, or the one that takes its place. */
  last: Position
  /** Whether the last row ends the stream, unless something follows it. */
  terminal: boolean
  /** Nothing stood past `last` when the page was read. */
  complete: boolean
}

/** A row that was announced while it was new. */
export interface Entry<Position> {
  position: Position
  frame: Buffer
  terminal: boolean
}
