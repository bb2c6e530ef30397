/**
 * What answers a prompt, token by token. The contract of both answerers:
 * - when `signal` aborts, the iteration ends soon and without an error;
 * - a failure is thrown, as an `AnswerError` where a reader may know why;
 * - leaving the loop early releases whatever the answerer holds.
 */
export type Answerer = (prompt: string, signal: AbortSignal) => AsyncIterable<string>

/** A failure whose `message` may be shown to readers. What is behind it is in `cause`, for the log only. */
export class AnswerError extends Error {
  override readonly name = 'AnswerError'
}

/** The text of a durable `error` event: an `AnswerError`'s own, and for any other error nothing about it. */
export function publicError (error: unknown): string {
  return error instanceof AnswerError ? error.message : 'The answer could not be finished.'
}
