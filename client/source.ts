import type { JournalClientError } from './errors.js'

/** One HTTP request of a source. */
export interface Request {
  url: string
  method: 'GET' | 'POST'
  /** JSON. */
  body?: string
}

/** A stream to follow: its requests, and the meaning of the answers. */
export interface Source<Result extends object> {
  /** The id of the newest event received. The reader moves it. */
  cursor: string | null
  /** The next request. */
  next (): Request
  /**
   * Called with a response, and with its error if it is no event stream.
   * @returns the result, if this is the end; `true` to ask again; nothing for the general rules
   */
  answered? (response: Response, failure: JournalClientError | null): Result | true | undefined
  /** Called with the first bytes of a stream. */
  opened? (): void
  /** Called with an event. With an id, it is new. @returns the result, if this is the end */
  event? (payload: Record<string, unknown>, id: string | null, name: string | undefined): Result | undefined
  /** Called with a comment. @returns the result, if this is the end */
  comment? (text: string): Result | undefined
  /** Called when the response has ended properly. @returns the result, if this is the end */
  ended? (): Result | undefined
}
