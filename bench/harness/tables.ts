import { messageIdOf } from './workload.js'

/** What differs between the tables of one revision and another stands here. */

export interface Filling {
  /** The index of the first message; see {@link messageIdOf}. */
  first?: number
  messages: number
  /** How many events each has. */
  rows: number
  /** True: the last row is a terminal event, and the status says so. */
  finished: boolean
}

type Query = (sql: string, values?: unknown[]) => Promise<unknown[]>

/** Newer tables refuse TRUNCATE by a trigger, which does not fire for a replica. */
const CLEAR = 'begin; set local session_replication_role = replica; truncate messages, message_events; commit'

/**
 * The same database, for sessions that insert past the library: the triggers of newer tables, which keep `last_no` for such
 * writers, do not fire. What they cost is neither the limit's nor a peer's.
 */
export function withoutTriggers (databaseUrl: string): string {
  const url = new URL(databaseUrl)
  url.searchParams.set('options', '-c session_replication_role=replica')
  return url.href
}

export async function clearTables (query: (sql: string) => Promise<unknown>): Promise<void> {
  await query(CLEAR)
}

/** Sets the numbers that newer tables keep of each message; older ones have no columns for them. */
export async function setNumbers (query: Query, { first = 0, messages, rows, finished }: Filling): Promise<void> {
  const kept = await query("select from pg_attribute where attrelid = 'messages'::regclass and attname = 'last_no'")
  if (kept.length === 0) return
  await query('update messages set last_no = $1, ended_no = $2 where message_id between $3 and $4',
    [rows - 1, finished ? rows - 1 : null, messageIdOf(first), messageIdOf(first + messages - 1)])
}
