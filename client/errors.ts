/** A code of the server's errors (the README's table "Errors"), or one of the client's. */
export type ClientErrorCode =
  /** 20 errors (`maxErrors`) in a row without an event; `cause` is the last one. */
  | 'FST_JOURNAL_CLIENT_GAVE_UP'
  /** A status that trying again does not mend. The server gave no code. */
  | 'FST_JOURNAL_CLIENT_REFUSED'
  /** A successful answer that is no event stream: a login page, a proxy's page, another route. */
  | 'FST_JOURNAL_CLIENT_NOT_A_STREAM'
  /** An event larger than `maxFrameLength`. */
  | 'FST_JOURNAL_CLIENT_FRAME_TOO_LARGE'
  /** No answer, or one that broke off. Only as a `cause`, because it is tried again. */
  | 'FST_JOURNAL_CLIENT_LOST'
  /** The server has no room. Only as a `cause`, because it is tried again. */
  | 'FST_JOURNAL_CLIENT_BUSY'

/** The server has codes of its own, and a newer one may have more. They are passed on. */
type AnyCode = ClientErrorCode | (string & {})

/** Why a call of this client has failed. The calls reject with it only for what trying again does not mend. */
export class JournalClientError extends Error {
  readonly code: AnyCode
  /** HTTP status; `null` when there was no answer. */
  readonly status: number | null
  /** How long the server asks to wait, in ms; `null`: it did not say. */
  readonly retryAfterMs: number | null

  constructor (
    code: AnyCode, message: string, status: number | null = null, retryAfterMs: number | null = null, cause?: unknown
  ) {
    super(message, { cause })
    this.name = 'JournalClientError'
    this.code = code
    this.status = status
    this.retryAfterMs = retryAfterMs
  }
}
