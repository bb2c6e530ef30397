import { createRequire } from 'node:module'
import { dirname, join, sep } from 'node:path'
import type { ClientBase, Pool, PoolClient } from 'pg'
import Postgrator from 'postgrator'
import { DatabaseNewerError, InvalidOptionError, MigrationFailedError } from '../errors.js'
import { release, acquire } from '../postgres/pool.js'

/** Which tables, and which version. */
export interface MigrateOptions {
  /** The version to go to, up or down. Default: the newest. 0 drops the journal with everything in it. */
  to?: number
  /** The tables' schema, which is created if it is missing. Default: the connection's search_path decides. */
  schema?: string
}

/** The versions before and after. */
export interface Migrated {
  from: number
  to: number
}

/**
 * The key of `pg_advisory_xact_lock`, for all schemas of a database: the letters `journal` in ASCII, so that it equals
 * no other program's key by chance.
 */
export const MIGRATION_LOCK = 0x6a6f75726e616cn

const VERSION_TABLE = 'journal_schema_version'
/** Whatever parsers the app has set. */
const texts = { types: { getTypeParser: () => String } }

/**
 * Brings the journal's tables to a version, in one transaction on one client of the pool. Any number of processes may
 * call it at once: each waits for an advisory lock, and then finds the work done. The client keeps its settings; a
 * broken one is closed.
 *
 * Rejects with
 * - `InvalidOptionError`: `to` is not a whole number from 0 to the newest version.
 * - `DatabaseNewerError`: the tables are newer than this code, which has no scripts to undo them.
 * - `MigrationFailedError`, with its `cause`: anything else, from an unreachable server to a foreign table of the same
 *   name. Nothing was changed, unless the answer to COMMIT was lost. Then calling it again tells.
 */
export async function migrate (pool: Pool, options: MigrateOptions = {}): Promise<Migrated> {
  const latest = await latestVersion()
  const target = options.to ?? latest
  if (!Number.isSafeInteger(target) || target < 0 || target > latest) {
    throw new InvalidOptionError(`to must be a whole number from 0 to ${latest}, not ${target}`)
  }
  try {
    const from = await inTransaction(pool, (client) => run(client, target, latest, options.schema))
    return { from, to: target }
  } catch (error) {
    if (error instanceof DatabaseNewerError) throw error
    throw new MigrationFailedError(target, reasonOf(error), { cause: error })
  }
}

/** The version of the tables in the database; 0 when there are none. Only reads. Rejects as `pool.query` does. */
export async function schemaVersion (pool: Pool, { schema }: { schema?: string } = {}): Promise<number> {
  const client = await acquire(pool)
  try {
    return await readVersion(client, schema === undefined ? VERSION_TABLE : `${quoted(schema)}.${VERSION_TABLE}`)
  } finally {
    release(client, false)
  }
}

/** The newest version this code has scripts for, and the one it needs. */
export async function latestVersion (): Promise<number> {
  return new Postgrator({ driver: 'pg', migrationPattern: scripts() }).getMaxVersion()
}

/** An error's text. An AggregateError, as when every address of a host refused, has none of its own. */
export function reasonOf (error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(reasonOf).join(', ')
  return error instanceof Error ? error.message : String(error)
}

async function run (client: PoolClient, target: number, latest: number, schema: string | undefined): Promise<number> {
  await client.query('select pg_advisory_xact_lock($1)', [MIGRATION_LOCK.toString()])
  await settleSchema(client, schema)

  const from = await readVersion(client, VERSION_TABLE)
  if (from > latest) throw new DatabaseNewerError(from, latest)

  // postgrator looks for its table in every schema of the database, and would find another schema's
  if (from === 0) {
    await client.query(`create table if not exists ${VERSION_TABLE}
      (version bigint primary key, name text, md5 text, run_at timestamptz)`)
  }
  await new Postgrator({
    driver: 'pg',
    migrationPattern: scripts(),
    schemaTable: VERSION_TABLE,
    newline: 'LF', // the scripts' checksums are the same after a checkout with CRLF
    execQuery: (sql) => client.query({ text: sql, ...texts })
  }).migrate(String(target))
  return from
}

/**
 * Narrows the search_path of this transaction to the schema of the journal, so that no script can change, or drop, a
 * table of the same name in another schema.
 */
async function settleSchema (client: PoolClient, schema: string | undefined): Promise<void> {
  if (schema === undefined) {
    await client.query(`
      select set_config('search_path', quote_ident(coalesce((
        select nspname
        from pg_catalog.pg_class class join pg_catalog.pg_namespace namespace on namespace.oid = relnamespace
        where class.oid = to_regclass($1)
      ), current_schema())), true)`, [VERSION_TABLE])
    return
  }
  // CREATE SCHEMA IF NOT EXISTS asks for the right to create schemas even where there is nothing to create.
  const existing = await client.query('select from pg_catalog.pg_namespace where nspname = $1', [schema])
  if (existing.rowCount === 0) await client.query(`create schema ${quoted(schema)}`)
  await client.query("select set_config('search_path', $1, true)", [quoted(schema)])
}

async function readVersion (db: ClientBase, table: string): Promise<number> {
  const found = await db.query<{ found: string }>(
    { text: 'select to_regclass($1) is not null as found', values: [table], ...texts })
  if (found.rows[0]?.found !== 't') return 0
  const newest = await db.query<{ version: string | null }>(
    { text: `select max(version) as version from ${table}`, ...texts })
  return Number(newest.rows[0]?.version ?? 0)
}

async function inTransaction<Result> (pool: Pool, work: (client: PoolClient) => Promise<Result>): Promise<Result> {
  const client = await acquire(pool)
  try {
    await client.query('begin')
    const result = await work(client)
    await client.query('commit')
    release(client, false)
    return result
  } catch (error) {
    release(client, await client.query('rollback').then(() => false, () => true))
    throw error
  }
}

/**
 * A glob for the scripts, which are in the package's root. The package's own name leads there from the source, from the
 * build, and from an app's bundle.
 */
function scripts (): string {
  const root = dirname(createRequire(import.meta.url).resolve('fastify-message-journal/package.json'))
  const literal = join(root, 'migrations').split(sep).join('/').replace(/[?*()[\]]/g, '[$&]')
  return `${literal}/*.sql`
}

function quoted (name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
