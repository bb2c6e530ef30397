/**
 * What a failed statement means for the events in it. SQLSTATE classes:
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 *
 * - `transient`: the server, the connection or the moment is at fault. Try the same again; the outcome of this try is unknown.
 * - `taken`: a sequence number is in use.
 * - `data`: one row is at fault, the others may be well.
 * - `permanent`: no event can be written as things are (no table, no right).
 */
export type FailureKind = 'transient' | 'taken' | 'data' | 'permanent'

const TRANSIENT_CLASSES = new Set([
  '08', // connection exception
  '25', // invalid transaction state: among them read_only_sql_transaction, a failover under way
  '40', // serialization failure, deadlock
  '53', // insufficient resources: too many connections, disk full
  '55', // object not in prerequisite state: lock not available
  '57', // operator intervention: shutdown, starting up, statement cancelled
  '58' // system error outside Postgres
])

const DATA_CLASSES = new Set([
  '22', // data exception
  '23', // integrity constraint violation
  '54', // program limit exceeded: nested too deep
  'P0' // raised by a trigger
])

export function failureKind (error: unknown): FailureKind {
  const code = sqlState(error)
  if (code === undefined) return 'transient' // no answer from a server: the socket, the pool, the client library
  if (code === '23505') return 'taken'
  const errorClass = code.slice(0, 2)
  if (TRANSIENT_CLASSES.has(errorClass)) return 'transient'
  return DATA_CLASSES.has(errorClass) ? 'data' : 'permanent'
}

function sqlState (error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error) || !('severity' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}
