import pg from 'pg'
import type { Teardown } from './database.js'
import { ask, eventually } from './journal.js'

/** https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES, from the weakest to the strongest. */
export const TABLE_LOCKS = [
  'access share', 'row share', 'row exclusive', 'share update exclusive', 'share', 'share row exclusive', 'exclusive', 'access exclusive'
] as const

/** Those that an INSERT or an UPDATE waits for. */
export const STOPS_WRITERS: ReadonlySet<string> = new Set(TABLE_LOCKS.slice(4))

export interface HeldLock {
  /** In the transaction that holds the lock. */
  query (sql: string, values?: unknown[]): Promise<pg.QueryResultRow[]>
  release (): Promise<void>
}

/** Takes a lock by `sql`, on a connection of its own, and holds it until it is released, at the latest until the end of the test. */
export async function holdLock (t: Teardown, databaseUrl: string, sql: string, values?: unknown[]): Promise<HeldLock> {
  const client = new pg.Client({ connectionString: databaseUrl })
  client.on('error', () => {}) // its database may go first
  await client.connect()
  t.teardown(() => client.end())
  const query = async (text: string, parameters?: unknown[]) => (await client.query(text, parameters)).rows
  await query('begin')
  await query(sql, values)
  return { query, release: async () => { await query('rollback') } }
}

/** Resolves once no session but idle ones is left: what was sent and is not answered has come to its end. */
export async function untilQuiet (databaseUrl: string): Promise<void> {
  await eventually(async () => (await ask(databaseUrl, `
    select from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend' and state <> 'idle'`)).length === 0)
}

/** Resolves once `count` locks are waited for. */
export async function untilLocked (databaseUrl: string, count = 1): Promise<void> {
  await eventually(async () => (await ask(databaseUrl, `
    select from pg_locks join pg_stat_activity using (pid) where not granted and datname = current_database()`)).length >= count)
}
