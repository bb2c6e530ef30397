import type { JournalClientError } from './errors.js'

/**
 * `healthy`: connected. `connecting`: at the beginning, and just after a connection was lost. `unhealthy`: trying again
 * has failed, or has ended.
 */
export type Health = 'connecting' | 'healthy' | 'unhealthy'

/** HTTP header fields by name. */
export type HeaderFields = Record<string, string>

/** Options of all calls. Times are in ms. The defaults suit the server's. */
export interface ConnectionOptions {
  /**
   * Sent with every request. A function is called before each, so that it can return the newest token. Its failure
   * counts as a failed connection.
   */
  headers?: HeaderFields | (() => HeaderFields | Promise<HeaderFields>) | undefined
  /**
   * Ends the call, which then rejects with the signal's reason. Nothing is called after it, and nothing is left open.
   */
  signal?: AbortSignal | undefined
  /** Called when it changes. */
  onHealth?: ((health: Health) => void) | undefined
  /**
   * Called after three 401s in a row. Returns a new token (`Authorization: Bearer …`), or headers that replace those of
   * the same name; then the call goes on. If it returns nothing, the call rejects with the error.
   */
  onAuthFailure?: ((error: JournalClientError) => AuthAnswer | Promise<AuthAnswer>) | undefined
  /**
   * The waits before trying again, each ± 20 %. The last one repeats. Default 0, 1, 2, 4, 8, 16, 30 s. A longer
   * `retry:` or `Retry-After` of the server is obeyed.
   */
  backoffMs?: readonly number[] | undefined
  /** After how long a good connection resets the waits. Default 2,000. */
  healthyMs?: number | undefined
  /** After how much silence a connection counts as dead. Default 45,000, three of the server's keepalives. */
  keepaliveTimeoutMs?: number | undefined
  /**
   * After how many errors, without an event or a good connection between them, the call gives up. Default 20. While the
   * browser is offline, errors do not count.
   */
  maxErrors?: number | undefined
  /** The largest event, in characters. Default 8,388,608. */
  maxFrameLength?: number | undefined
  /** Used in place of the global `fetch`: to send cookies to another origin, for example. */
  fetch?: typeof globalThis.fetch | undefined
}

/** What `onAuthFailure` answers with: a bearer token, header fields, or nothing, which ends the call. */
export type AuthAnswer = string | HeaderFields | null | undefined | void
