/**
 * What a failed statement means for the events in it. SQLSTATE classes:
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 *
 * - `transient`: the server, the connection or the moment is at fault. Try the same again; the outcome of this try is unknown.
 * - `locked`: somebody holds a message's row. Nothing was written; the others may be well, and this one later.
 * - `taken`: a sequence number is in use, or comes too late.
 * - `data`: one row is at fault, the others may be well.
 * - `permanent`: no event can be written as things are.
 */
export type FailureKind = 'transient' | 'locked' | 'taken' | 'data' | 'permanent'

const TRANSIENT_CLASSES = new Set([
  '08', // connection exception
  '25', // invalid transaction state: among them read_only_sql_transaction, a failover under way
  '40', // serialization failure, deadlock
  '53', // insufficient resources: too many connections, disk full
  '55', // object not in prerequisite state
  '57', // operator intervention: shutdown, starting up, statement cancelled
  '58' // system error outside Postgres
])

/** No row can be written as things are, and neither without a login (class 28). Whatever else a server says may be about one row: a trigger can raise any code. */
const PERMANENT_CODES = new Set([
  '3D000', // no such database
  '3F000', // no such schema
  '42P01', // no such table
  '42703', // no such column
  '42601' // not this code's SQL
])

export function failureKind (error: unknown): FailureKind {
  if (error instanceof LateError) return 'taken'
  const code = sqlState(error)
  if (code === undefined) return 'transient' // no answer from a server: the socket, the pool, the client library
  if (code === '23505') return 'taken'
  if (code === '55P03') return 'locked'
  if (TRANSIENT_CLASSES.has(code.slice(0, 2))) return 'transient'
  return PERMANENT_CODES.has(code) || code.startsWith('28') ? 'permanent' : 'data'
}

/** A number that was allotted before readers were shown a higher one: nothing was written. */
export class LateError extends Error {}

/** No statement was sent: there is no doubt about its outcome. */
export class NotSentError extends Error {}

/** Whether a statement that failed so may have been committed all the same: it was sent, and the server did not say no. */
export function isUnsure (error: unknown): boolean {
  return sqlState(error) === undefined && !(error instanceof NotSentError)
}

function sqlState (error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error) || !('severity' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
