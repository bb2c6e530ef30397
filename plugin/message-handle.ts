/** A message that this process is producing. Its numbers are kept here; nothing of it throws or rejects. */
export interface Message {
  readonly messageId: string
  readonly userId: string | null
  /**
   * The number of the newest event that was in the journal when the message was opened, or that this producer has
   * recorded since; -1: none.
   */
  readonly lastSequenceNo: number
  /**
   * Aborts when the producer should stop. Its reason is a StoppedError, a FencedError (another writer has taken the
   * message over, or it was ended because this process gave no sign of life) or a ClosedError (the server shuts down).
   */
  readonly signal: AbortSignal
  /**
   * Journals and publishes the next event. Numbers are allotted in the order of the calls, of which many may be in
   * flight, and the events are committed in that order.
   * @returns `true` exactly when the event is committed; `false` after `end` or `fail`, and as `recordEvent` has it.
   */
  record (eventType: string, payload?: object): Promise<boolean>
  /**
   * A sign of life, for a producer that has nothing to record for a while: before the first event for `producerIdleMs`,
   * between events for `producerSilenceMs`.
   * @returns whether it is committed; `false` when the message is not this producer's any more, or Postgres cannot be
   * asked.
   */
  touch (): Promise<boolean>
  /**
   * The durable terminal event `{"type":"end", …payload}` and the status `complete`, in one transaction. A `type` in
   * the payload is left out, and so is, with a line in the log, a payload that is no plain object or cannot be stored.
   * @returns whether it is committed; `false` when the message has ended already.
   */
  end (payload?: object): Promise<boolean>
  /**
   * The durable terminal event `{"type":"error","error":…,"code":"producer_failed"}` and the status `failed`, in one
   * transaction. Readers see the text that the option `publicError` makes of `error`.
   */
  fail (error: unknown): Promise<boolean>
}
