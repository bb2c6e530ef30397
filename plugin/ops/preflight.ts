import type { FastifyInstance } from 'fastify'
import type {} from '@fastify/postgres'
import type { Pool, PoolClient } from 'pg'
import { DatabaseNewerError, InvalidOptionError, NotMigratedError, UnusableTablesError } from '../errors.js'
import { release, acquire } from '../postgres/pool.js'
import { latestVersion, reasonOf, schemaVersion } from './migrate.js'
import type { JournalOptions } from '../options.js'
import { sqlState } from '../postgres/failures.js'
import type { Redis } from '../redis/commands.js'
import { tablesOf } from '../postgres/statements.js'

/** The pool of the app's @fastify/postgres. @throws InvalidOptionError */
export function postgresOf (app: FastifyInstance, { postgres }: JournalOptions): Pool {
  const pool = postgres === undefined ? app.pg.pool : app.pg[postgres]?.pool
  if (pool === undefined) {
    const where = postgres === undefined ? 'without a name' : `under the name ${JSON.stringify(postgres)}`
    throw new InvalidOptionError(`"postgres": no @fastify/postgres is registered ${where}`)
  }
  return pool
}

/** The client of the app's @fastify/redis. @throws InvalidOptionError */
export function redisOf (app: FastifyInstance, { redis }: JournalOptions): Redis {
  const client = redis === undefined ? app.redis : app.redis[redis]
  if (typeof client?.duplicate !== 'function') {
    const where = redis === undefined ? 'without a namespace' : `under the namespace ${JSON.stringify(redis)}`
    throw new InvalidOptionError(`"redis": no @fastify/redis is registered ${where}`)
  }
  return client
}

const INSUFFICIENT_PRIVILEGE = '42501'

/**
 * Fails the start when the tables are not those that this code needs, or cannot be used. Does not fail when the server
 * is away. Logs what keeps events from losing their message.
 * @throws NotMigratedError, DatabaseNewerError, UnusableTablesError
 */
export async function checkTables (app: FastifyInstance, pool: Pool, schema: { schema?: string }): Promise<void> {
  const needed = await latestVersion()
  const version = await schemaVersion(pool, schema).catch((error: unknown) => {
    if (sqlState(error) === INSUFFICIENT_PRIVILEGE) throw new UnusableTablesError(reasonOf(error))
    app.log.error({ err: error }, 'journal: Postgres cannot be reached; events and readers will wait for it')
    return null
  })
  if (version === null) return
  if (version < needed) throw new NotMigratedError(version, needed)
  if (version > needed) throw new DatabaseNewerError(version, needed)
  const client = await acquire(pool)
  try {
    await checkUse(app, client, schema.schema)
  } finally {
    release(client, false)
  }
}

/** Each row is a problem. */
const PROBLEMS = `
  with wanted_right (name, verb) as (values
    ('messages', 'select'), ('messages', 'insert'), ('messages', 'update'), ('messages', 'delete'),
    ('message_events', 'select'), ('message_events', 'insert'), ('message_events', 'delete'),
    ('journal_state', 'select'), ('journal_state', 'update')
  ),
  wanted_column (name, definition) as (values
    ('messages', 'message_id uuid'), ('messages', 'user_id text'), ('messages', 'status text'),
    ('messages', 'error text'), ('messages', 'epoch integer'), ('messages', 'heartbeat_at timestamp with time zone'),
    ('messages', 'created_at timestamp with time zone'), ('messages', 'last_no integer'),
    ('messages', 'ended_at timestamp with time zone'), ('messages', 'ended_no integer'),
    ('messages', 'open_token uuid'), ('messages', 'touched_at timestamp with time zone'),
    ('messages', 'handed_over timestamp with time zone'),
    ('message_events', 'message_id uuid'), ('message_events', 'sequence_no integer'),
    ('message_events', 'event_type text'), ('message_events', 'payload json'),
    ('message_events', 'created_at timestamp with time zone'), ('message_events', 'ending boolean')
  ),
  -- As the writers find them
  home as (
    select class.relname as name, class.oid
    from unnest($1::text[], $2::text[]) w(name, path) join pg_class class on class.oid = to_regclass(w.path)
  ),
  present_column as (
    select attrelid,
      attname || ' ' || regexp_replace(format_type(atttypid, null), '^character varying.*$', 'text') as definition
    from pg_attribute where attnum > 0 and not attisdropped
  ),
  wanted_trigger (name, trigger) as (values
    ('message_events', 'zz_journal_refuse_late'), ('message_events', 'journal_raise_last_no'),
    ('messages', 'journal_note_end')
  )
  select 'the role ' || quote_ident(current_user) || ' may not ' || verb || ' on ' || home.oid::regclass
  from wanted_right join home using (name) where not has_table_privilege(home.oid, verb)
  union all
  select 'the role ' || quote_ident(current_user) || ' may not call ' || function.oid::regprocedure
  from pg_proc function
  where function.pronamespace in (select relnamespace from pg_class join home using (oid))
    and function.proname in (
      'journal_append', 'journal_append_one', 'journal_append_some', 'journal_fence', 'journal_count',
      'journal_refusals'
    )
    and not has_function_privilege(function.oid, 'execute')
  union all
  select home.oid::regclass || ' has no column ' || wanted_column.definition
  from wanted_column join home using (name)
  where not exists (
    select from present_column where attrelid = home.oid and present_column.definition = wanted_column.definition
  )
  union all
  select home.oid::regclass || ' has no trigger ' || wanted_trigger.trigger || ', or it is disabled'
  from wanted_trigger join home using (name)
  where not exists (
    select from pg_trigger where tgrelid = home.oid and tgname = wanted_trigger.trigger and tgenabled in ('O', 'A')
  )`

/** The encoding, and what deletes the events of a deleted message; null: nothing. */
const FACTS = `
  select current_setting('server_encoding'), case
    when exists (
      select from pg_constraint where conrelid = to_regclass($1) and confrelid = to_regclass($2) and contype = 'f'
    ) then 'foreign key'
    when exists (
      select from pg_trigger
      where tgrelid = to_regclass($2) and tgname = 'journal_delete_events' and tgenabled in ('O', 'A')
    ) then 'triggers'
  end`

const texts = { types: { getTypeParser: () => String }, rowMode: 'array' } as const

async function checkUse (app: FastifyInstance, client: PoolClient, schema: string | undefined): Promise<void> {
  const { messages, events, state } = tablesOf(schema)
  const problems = await client.query<[string]>(
    { text: PROBLEMS, values: [['messages', 'message_events', 'journal_state'], [messages, events, state]], ...texts })
  if (problems.rows.length > 0) throw new UnusableTablesError(problems.rows.map(([problem]) => problem).join('; '))
  const facts = await client.query<[string, string | null]>({ text: FACTS, values: [events, messages], ...texts })
  for (const [encoding, guard] of facts.rows) {
    app.log.info({ guard }, 'journal: the tables are ready')
    if (guard === null) {
      app.log.warn('journal: events can lose their message: there is neither a foreign key nor journal_delete_events')
    }
    if (encoding !== 'UTF8') {
      app.log.warn({ encoding }, 'journal: the database is not UTF8: an event that it cannot hold is not recorded')
    }
  }
}
