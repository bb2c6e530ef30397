/** A message that this process produces. It numbers its events. Its methods never throw or reject. */
export interface Message {
  readonly messageId: string
  readonly userId: string | null
  /**
   * The number of the newest event, when the message was opened or of what this producer has recorded since; -1: none.
   */
  readonly lastSequenceNo: number
  /**
   * Aborts when the producer should stop. Its reason is a StoppedError, a FencedError (another writer has taken the
   * message over, or it was ended for lack of a sign of life, or for silence) or a ClosedError (the server shuts down).
   */
  readonly signal: AbortSignal
  /**
   * Journals and publishes the next event. Many calls may be in flight: events are numbered and committed in the order
   * of the calls.
   * @returns `true` exactly when the event is committed; `false` after `end` or `fail`, and as for `recordEvent`.
   */
  record (eventType: string, payload?: object): Promise<boolean>
  /**
   * A sign of life without an event. Needed in a pause longer than `producerSilenceMs`, and for a message that is
   * opened long before it is used (`producerIdleMs`).
   * @returns whether it is committed; `false` when the message is not this producer's any more, or Postgres cannot be
   * asked.
   */
  touch (): Promise<boolean>
  /**
   * Writes the terminal event `{"type":"end", …payload}` and the status `complete`, in one transaction. A `type` in the
   * payload is left out. A payload that is no plain object, or cannot be stored, is left out, with a line in the log.
   * @returns whether it is committed; `false` when the message has ended already.
   */
  end (payload?: object): Promise<boolean>
  /**
   * Writes the terminal event `{"type":"error","error":…,"code":"producer_failed"}` and the status `failed`, in one
   * transaction. Readers see the text that the option `publicError` makes of `error`.
   */
  fail (error: unknown): Promise<boolean>
}
