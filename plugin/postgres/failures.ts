/**
 * What a failed statement means for its events. SQLSTATE classes:
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 * - `transient`: the server, the connection or the moment is at fault. The same statement may succeed later.
 * - `stale`: the session has lost a prepared statement, or its plan. The same statement succeeds when it is prepared
 *   again.
 * - `locked`: somebody held a lock for too long. Nothing was written.
 * - `taken`: a unique index has the row already.
 * - `data`: one row is at fault. The others may be written.
 * - `permanent`: no event can be written as things are.
 */
export type FailureKind = 'transient' | 'stale' | 'locked' | 'taken' | 'data' | 'permanent'

const TRANSIENT_CLASSES = new Set([
  '08', // connection exception
  '25', // invalid transaction state: among them read_only_sql_transaction, a failover under way
  '40', // serialization failure, deadlock
  '53', // insufficient resources: too many connections, disk full
  '55', // object not in prerequisite state
  '57', // operator intervention: shutdown, starting up, statement cancelled
  '58' // system error outside Postgres
])

/**
 * Codes of `permanent`, beside class 28 (no login). Any other code may be about one row, because a trigger can raise
 * any code.
 */
const PERMANENT_CODES = new Set([
  '3D000', // no such database
  '3F000', // no such schema
  '42P01', // no such table
  '42703', // no such column
  '42601' // not this code's SQL
])

/** What the failure of a statement means; see FailureKind. */
export function failureKind (error: unknown): FailureKind {
  const code = sqlState(error)
  if (code === undefined) return 'transient' // no answer from a server: the socket, the pool, the client library
  // After DISCARD ALL; when a pooler has changed the session; after ALTER COLUMN under a cached plan
  if (code === '26000' || code === '42P05' || code === '0A000') return 'stale'
  if (code === '23505') return 'taken'
  if (code === '55P03') return 'locked'
  if (TRANSIENT_CLASSES.has(code.slice(0, 2))) return 'transient'
  return PERMANENT_CODES.has(code) || code.startsWith('28') ? 'permanent' : 'data'
}

/** No statement was sent, or its transaction was never told to commit. Nothing of it is in the journal, or will be. */
export class NotSentError extends Error {}

/** The error that a caller gets: pg's own, where there is one. */
export function causeOf (error: unknown): unknown {
  return error instanceof NotSentError && error.cause !== undefined ? causeOf(error.cause) : error
}

/** A pooler has lost its connection to the server, or the statement's completion is unknown. */
const NO_ANSWER = /^(08...|40003)$/

/** Whether the failed statement may be committed, now or later: it was sent, and the server did not refuse it. */
export function isUnsure (error: unknown): boolean {
  const code = sqlState(error)
  return code === undefined ? !(error instanceof NotSentError) : NO_ANSWER.test(code)
}

/** The SQLSTATE of pg's error; `undefined` when no server has answered. */
export function sqlState (error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error) || !('severity' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
