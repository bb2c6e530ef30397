import pg from 'pg'
import type { Library } from './library.js'
import { migrate } from './migrate.js'
import { clearTables } from './tables.js'

/** A database on the benchmark's server, with the tables of one revision. */
export interface Database {
  readonly url: string
  query<Row extends pg.QueryResultRow> (sql: string, values?: unknown[]): Promise<Row[]>
  /** Empties the tables, and has the dirty pages on disk, so that nobody pays for what was written before. */
  clear (): Promise<void>
  checkpoint (): Promise<void>
  close (): Promise<void>
}

const CONNECTIONS = 2

export function openDatabase (url: string): Database {
  const pool = new pg.Pool({ connectionString: url, max: CONNECTIONS })
  pool.on('error', () => {})
  const checkpoint = async () => { await pool.query('checkpoint') }
  return {
    url,
    async query<Row extends pg.QueryResultRow> (sql: string, values?: unknown[]) {
      return (await pool.query<Row>(sql, values)).rows
    },
    async clear () {
      await clearTables(async (sql) => await pool.query(sql))
      await checkpoint()
    },
    checkpoint,
    close: async () => { await pool.end() }
  }
}

/** Makes a database beside `server`'s, with this library's tables. */
export async function createDatabase (server: Database, name: string, library: Library): Promise<Database> {
  await server.query(`create database ${pg.escapeIdentifier(name)}`)
  const url = new URL(server.url)
  url.pathname = `/${name}`
  await migrate(url.href, library)
  return openDatabase(url.href)
}

export async function dropDatabase (server: Database, name: string): Promise<void> {
  await server.query(`drop database if exists ${pg.escapeIdentifier(name)} with (force)`)
}
