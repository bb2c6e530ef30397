/** One event of an answer, as it is recorded; `type` is the event's type as well. */
export type Step =
  | { type: 'answer', answer: string }
  | { type: 'source', source: string }
  | { type: 'approval', approvalId: string, action: Action }
  /** Ends the message; what stands behind it is said once the message is opened again. */
  | { type: 'end', reason: 'approval' }

/** What the demo does only when its user allows it. */
export interface Action {
  tool: string
  title: string
}

/** A quotation. `source` names author, work, place in it and year, or the user's file. */
export interface Passage {
  source: string
  text: string
}
