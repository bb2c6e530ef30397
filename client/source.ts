import type { JournalClientError } from './errors.js'

/** One HTTP request of a source. */
export interface Request {
  url: string
  method: 'GET' | 'POST'
  /** JSON. */
  body?: string
}

/** What is followed: where to ask, and what the answers mean. */
export interface Source<Result extends object> {
  /** The id of the newest event received; it is moved here. */
  cursor: string | null
  /** The request to make now. */
  next (): Request
  /**
   * A response is here, and when it is no event stream, what it says.
   * @returns the result, if this is the end; `true` to ask again; nothing for the general rules
   */
  answered? (response: Response, failure: JournalClientError | null): Result | true | undefined
  /** The stream has begun in earnest. */
  opened? (): void
  /** An event: new, if it has an id. @returns the result, if this is the end */
  event? (payload: Record<string, unknown>, id: string | null, name: string | undefined): Result | undefined
  /** @returns the result, if this is the end */
  comment? (text: string): Result | undefined
  /** The response has ended as it should. @returns the result, if this is the end */
  ended? (): Result | undefined
}
