import type { Passage, Step } from './step.js'

/** Knows all it will say before its first word: whoever has the plan can go on with the answer after any of its events. */
export interface PlannedAnswerer {
  name: string
  /** `uploaded`: passages of the user's own that match the prompt. */
  plan: (prompt: string, uploaded: Passage[]) => Step[]
}

/**
 * Answers token by token, and nobody knows the next one before it is there:
 * - when `signal` aborts, the iteration ends soon and without an error;
 * - a failure is thrown, as an `AnswerError` where a reader may know why;
 * - leaving the loop early releases whatever the answerer holds.
 */
export interface LiveAnswerer {
  name: string
  answer: (prompt: string, signal: AbortSignal, uploaded: Passage[]) => AsyncIterable<string>
}

export type Answerer = PlannedAnswerer | LiveAnswerer

/** A failure whose `message` may be shown to readers. What is behind it is in `cause`, for the log only. */
export class AnswerError extends Error {
  override readonly name = 'AnswerError'
}

/** What readers see of an error: an `AnswerError`'s own text, and of any other error nothing. */
export function publicError (error: unknown, { taskId }: { taskId?: string } = {}): string {
  if (error instanceof AnswerError) return error.message
  return taskId === undefined ? 'The answer could not be finished.' : 'The file could not be taken in.'
}
