import type { JournalClientError } from './errors.js'

/**
 * `healthy`: connected. `connecting`: at the beginning, and when a connection was lost a moment ago. `unhealthy`:
 * trying again has failed too, or has ended.
 */
export type Health = 'connecting' | 'healthy' | 'unhealthy'

/** HTTP header fields by name. */
export type HeaderFields = Record<string, string>

/** What all calls have in common. Times are in ms; the defaults suit the server's. */
export interface ConnectionOptions {
  /**
   * Sent with every request. A function is asked before each, so that it can give the newest token; its failure counts
   * as a failed connection.
   */
  headers?: HeaderFields | (() => HeaderFields | Promise<HeaderFields>) | undefined
  /**
   * Ends the call, which then rejects with the signal's reason. Nothing is called after it, and nothing is left open.
   */
  signal?: AbortSignal | undefined
  /** Called when it changes. */
  onHealth?: ((health: Health) => void) | undefined
  /**
   * Three 401 in a row. A text is a fresh token (`Authorization: Bearer …`), an object is headers that replace those of
   * the same name; with either the call goes on. With nothing it rejects with the error.
   */
  onAuthFailure?: ((error: JournalClientError) => AuthAnswer | Promise<AuthAnswer>) | undefined
  /**
   * The waits before trying again, each ± 20 %; the last one repeats. Default 0, 1, 2, 4, 8, 16, 30 s. A `retry:` or
   * `Retry-After` of the server's that is longer is obeyed.
   */
  backoffMs?: readonly number[] | undefined
  /** After how long of a good connection the waits begin again. Default 2,000. */
  healthyMs?: number | undefined
  /** After how long of silence a connection counts as dead: three of the server's keepalives. Default 45,000. */
  keepaliveTimeoutMs?: number | undefined
  /**
   * How many errors, without an event or a good connection between them, are enough. Default 20. While the browser says
   * that it is offline, none is counted.
   */
  maxErrors?: number | undefined
  /** The largest event, in characters. Default 8,388,608. */
  maxFrameLength?: number | undefined
  /** In place of the global one: to another origin with cookies, for example. */
  fetch?: typeof globalThis.fetch | undefined
}

/** What `onAuthFailure` answers with: a bearer token, header fields, or nothing, which ends the call. */
export type AuthAnswer = string | HeaderFields | null | undefined | void
