import { randomBytes, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import pg from 'pg'
import t from 'tap'
import { latestVersion, migrate, MIGRATION_LOCK, reasonOf, schemaVersion } from '../../plugin/ops/migrate.js'
import { ignore } from '../../plugin/postgres/pool.js'
import { createTestDatabase, type Teardown } from '../helper/database.js'

/** The newest version there are scripts for. */
const LATEST = 3

function openPool (t: Teardown, config: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool(config)
  pool.on('error', ignore) // an idle client may hear that its database is dropped
  t.teardown(() => pool.end())
  return pool
}

/**
 * A pool without a listener for 'error', and a client that holds the migration's lock: what happens to a migration that
 * waits for it must not end the process.
 */
async function openBesieged (t: Teardown) {
  const connectionString = await createTestDatabase(t)
  const watcher = openPool(t, { connectionString })
  const holder = await watcher.connect()
  t.teardown(async () => holder.release())
  await holder.query('select pg_advisory_lock($1)', [MIGRATION_LOCK.toString()])
  const pool = openPool(t, { connectionString, max: 1 })
  pool.off('error', ignore)
  return { watcher, holder, pool }
}

async function openTestPool (t: Teardown): Promise<pg.Pool> {
  return openPool(t, { connectionString: await createTestDatabase(t) })
}

/** Every table, view, index and schema that is not the server's own. */
async function inventory (pool: pg.Pool): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(`
    select nspname || coalesce('.' || relname, '') as name
    from pg_namespace left join pg_class on relnamespace = pg_namespace.oid
    where nspname <> 'information_schema' and nspname not like 'pg\\_%' order by 1`)
  return rows.map((row) => row.name)
}

/** Resolves with the backend of the first who waits for the migration's lock. */
async function lockWaiter (pool: pg.Pool): Promise<number> {
  for (;;) {
    const { rows } = await pool.query<{ pid: number }>(`
      select pid from pg_locks join pg_database on pg_database.oid = database
      where locktype = 'advisory' and not granted and datname = current_database()`)
    if (rows[0] !== undefined) return rows[0].pid
  }
}

t.test('an empty database gets the tables', async (t) => {
  const pool = await openTestPool(t)
  t.equal(await schemaVersion(pool), 0)
  t.same(await migrate(pool), { from: 0, to: LATEST })
  t.equal(await schemaVersion(pool), LATEST)
  t.equal(await latestVersion(), LATEST)

  const messageId = randomUUID()
  await pool.query('insert into messages (message_id) values ($1)', [messageId])
  const message = await pool.query('select user_id, status, error, epoch, heartbeat_at from messages')
  t.same(message.rows, [{ user_id: null, status: 'streaming', error: null, epoch: 0, heartbeat_at: null }])

  const payload = '{ "b":1,  "a" : "\\ud83d" }'
  await pool.query('insert into message_events values ($1, 0, $2, $3)', [messageId, 'answer', payload])
  const event = await pool.query("select payload::text, created_at > now() - interval '1 minute' as recent from message_events")
  t.same(event.rows, [{ payload, recent: true }], 'the text of a payload is kept as it was')

  await t.rejects(pool.query("update messages set status = 'lost'"), /messages_status_check/)
  await t.rejects(pool.query("insert into message_events values ($1, -1, 'answer')", [messageId]), /sequence_no_check/)
  await t.rejects(pool.query("insert into message_events values ($1, 0, 'answer')", [messageId]), /message_events_pkey/)
  await t.rejects(pool.query("insert into message_events values ($1, 0, 'answer')", [randomUUID()]), { code: '23503', constraint: 'message_events_message_id_fkey' })
  await pool.query('delete from messages')
  t.same((await pool.query('select from message_events')).rowCount, 0, 'events go with their message')
})

t.test('messages without a heartbeat are found through the partial index', async (t) => {
  const pool = await openTestPool(t)
  await migrate(pool)
  await pool.query(`
    insert into messages (message_id, status, heartbeat_at)
    select gen_random_uuid(), case n % 1000 when 0 then 'streaming' else 'complete' end, now() - n * interval '1 s'
    from generate_series(1, 20000) n`)
  await pool.query('analyze messages')
  const { rows } = await pool.query(`
    explain select message_id from messages where status = 'streaming' and heartbeat_at < now() - interval '5 hours'`)
  t.match(JSON.stringify(rows), /messages_heartbeat_at_idx/)
})

t.test('a database that is up to date is left alone', async (t) => {
  const pool = await openTestPool(t)
  await migrate(pool)
  await pool.query('insert into messages (message_id) values ($1)', [randomUUID()])
  t.same(await migrate(pool), { from: LATEST, to: LATEST })
  t.equal((await pool.query('select from messages')).rowCount, 1)
})

t.test('the tables can be dropped and made again', async (t) => {
  const pool = await openTestPool(t)
  await migrate(pool)
  t.same(await migrate(pool, { to: 0 }), { from: LATEST, to: 0 })
  t.equal(await schemaVersion(pool), 0)
  t.same(await inventory(pool), ['public.journal_schema_version', 'public.journal_schema_version_pkey'])
  t.same(await migrate(pool, { to: 0 }), { from: 0, to: 0 })
  t.same(await migrate(pool, { to: 1 }), { from: 0, to: 1 })
  t.same(await migrate(pool), { from: 1, to: LATEST })
  t.same(await migrate(pool, { to: 1 }), { from: LATEST, to: 1 })
})

t.test('the scripts can be run by hand, twice, and the tables are adopted', async (t) => {
  const pool = await openTestPool(t)
  const scripts = await Promise.all(['001.do.journal', '002.do.sequence-floor'].map((name) => readFile(new URL(`../../migrations/${name}.sql`, import.meta.url), 'utf8')))
  const sql = scripts.join('\n')
  await pool.query(sql)
  await pool.query('insert into messages (message_id) values ($1)', [randomUUID()])
  await pool.query(sql)
  t.same(await migrate(pool), { from: 0, to: LATEST })
  t.equal((await pool.query('select from messages')).rowCount, 1)
})

t.test('a version there are no scripts for is refused', async (t) => {
  const pool = openPool(t, {})
  for (const to of [-1, LATEST + 1, 0.5, NaN, Infinity]) {
    await t.rejects(migrate(pool, { to }), {
      code: 'FST_JOURNAL_INVALID_OPTION',
      message: `fastify-message-journal: option to must be a whole number from 0 to ${LATEST}, not ${to}`
    })
  }
})

t.test('a database newer than the code is refused, and not undone either', async (t) => {
  const pool = await openTestPool(t)
  await migrate(pool)
  await pool.query('insert into journal_schema_version (version) values (7)')
  const before = await inventory(pool)
  const newer = { code: 'FST_JOURNAL_DATABASE_NEWER', message: new RegExp(`at version 7, newer than this code's ${LATEST}`) }
  await t.rejects(migrate(pool), newer)
  await t.rejects(migrate(pool, { to: 0 }), newer)
  t.equal(await schemaVersion(pool), 7)
  t.same(await inventory(pool), before)
})

t.test('a script that is not the one that was run is refused', async (t) => {
  const pool = await openTestPool(t)
  await migrate(pool)
  await pool.query("update journal_schema_version set md5 = 'other' where version = 1")
  await t.rejects(migrate(pool), { code: 'FST_JOURNAL_MIGRATION_FAILED', message: /MD5 checksum failed/ })
})

const foreigners = [
  {
    what: 'a table with other columns',
    sql: 'create table messages (id bigserial primary key, body text not null)',
    reason: /public\.messages has no column message_id uuid;.* needs a value for body;.* has another primary key than \(message_id\)/
  }, {
    what: 'a table that lacks one column',
    sql: `create table messages (message_id uuid primary key, user_id text, status text, error text,
      heartbeat_at timestamptz, created_at timestamptz)`,
    reason: /not the journal's: public\.messages has no column epoch integer$/
  }, {
    what: 'a table with a column of another type',
    sql: `create table messages (message_id uuid primary key, user_id integer, status text, error text, epoch integer,
      heartbeat_at timestamptz, created_at timestamptz)`,
    reason: /public\.messages has no column user_id text$/
  }, {
    what: 'a table with a column that the journal would not fill',
    sql: `create table messages (message_id uuid primary key, user_id text, status text, error text, epoch integer,
      heartbeat_at timestamptz, created_at timestamptz, tenant text not null)`,
    reason: /public\.messages needs a value for tenant$/
  }, {
    what: 'a view',
    sql: 'create view messages as select 1 as message_id',
    reason: /public\.messages has no column message_id uuid/
  }, {
    what: 'a table of events only',
    sql: `create table message_events (message_id uuid, sequence_no integer, event_type text, payload jsonb,
      created_at timestamptz, primary key (sequence_no, message_id))`,
    reason: /message_events has no column payload json; public\.message_events has another primary key than \(message_id, sequence_no\)/
  }
]

for (const { what, sql, reason } of foreigners) {
  t.test(`${what} in the journal's place fails the migration, which leaves nothing behind`, async (t) => {
    const pool = await openTestPool(t)
    await pool.query(sql)
    const before = await inventory(pool)
    await t.rejects(migrate(pool), {
      code: 'FST_JOURNAL_MIGRATION_FAILED',
      message: reason,
      cause: { code: '42P07', hint: 'Give the journal a schema of its own.' }
    })
    t.same(await inventory(pool), before)
    t.equal(await schemaVersion(pool), 0)
    t.same(await migrate(pool, { schema: 'journal' }), { from: 0, to: LATEST }, 'a schema of its own helps')
  })
}

t.test('a failed migration takes the schema it made with it', async (t) => {
  const pool = await openTestPool(t)
  await pool.query('create function refuse () returns event_trigger language plpgsql as $$ begin raise \'no tables today\'; end $$')
  await pool.query("create event trigger refuse on ddl_command_end when tag in ('CREATE INDEX') execute function refuse()")
  const before = await inventory(pool)
  await t.rejects(migrate(pool, { schema: 'journal' }), { message: new RegExp(`to version ${LATEST} failed, and nothing was changed: no tables today`) })
  t.same(await inventory(pool), before)
})

t.test('a schema of its own is made, and its name may be anything', async (t) => {
  const pool = await openTestPool(t)
  for (const schema of ['Odd"na.me', 'journal', 'select']) {
    t.equal(await schemaVersion(pool, { schema }), 0)
    t.same(await migrate(pool, { schema }), { from: 0, to: LATEST }, 'the journal of another schema is another journal')
    t.equal(await schemaVersion(pool, { schema }), LATEST)
    t.same(await migrate(pool, { schema }), { from: LATEST, to: LATEST })
  }
  t.equal(await schemaVersion(pool), 0)
  t.notOk((await inventory(pool)).some((name) => name.startsWith('public.')))
})

t.test('the client goes back to the pool with its own search_path', async (t) => {
  const pool = openPool(t, { connectionString: await createTestDatabase(t), max: 1 })
  await migrate(pool, { schema: 'journal' })
  await migrate(pool)
  t.same((await pool.query('show search_path')).rows, [{ search_path: '"$user", public' }])
  t.equal(pool.totalCount, 1)
  t.equal(pool.idleCount, 1)
})

t.test('without a schema, the journal is the one the search_path finds, and no other table is touched', async (t) => {
  const connectionString = await createTestDatabase(t)
  const pool = openPool(t, { connectionString, options: '-c search_path=app,public' })
  await migrate(pool)
  await pool.query('create schema app')
  t.same(await migrate(pool), { from: LATEST, to: LATEST }, 'a schema that comes first later does not hide it')
  await pool.query('create table app.messages ()')
  await migrate(pool, { to: 0 })
  t.ok((await inventory(pool)).includes('app.messages'))
})

t.test('a search_path that leads nowhere is an error that says so', async (t) => {
  const pool = openPool(t, { connectionString: await createTestDatabase(t), options: '-c search_path=nowhere' })
  await t.rejects(migrate(pool), { message: /no schema has been selected to create in/ })
})

t.test('a role that may use the tables but create nothing can check that they are up to date', async (t) => {
  const role = `journal_test_${randomBytes(6).toString('hex')}`
  const server = openPool(t, { connectionString: process.env.TEST_DATABASE_URL })
  await server.query(`create role ${role}`)
  t.teardown(() => server.query(`drop role ${role}`))
  const connectionString = await createTestDatabase(t)
  const owner = openPool(t, { connectionString })
  await migrate(owner, { schema: 'journal' })
  await owner.query(`grant usage on schema journal to ${role}`)
  await owner.query(`grant select on all tables in schema journal to ${role}`)

  const pool = openPool(t, { connectionString, options: `-c role=${role}` })
  t.equal(await schemaVersion(pool, { schema: 'journal' }), LATEST)
  t.same(await migrate(pool, { schema: 'journal' }), { from: LATEST, to: LATEST })
  await t.rejects(migrate(pool, { schema: 'other' }), { message: /permission denied for database/ })
})

t.test('many at once, through one pool or several, all succeed', async (t) => {
  const connectionString = await createTestDatabase(t)
  const pools = [1, 2, 3].map(() => openPool(t, { connectionString, max: 4 }))
  const done = await Promise.all([...pools, ...pools, ...pools].map((pool) => migrate(pool)))
  t.same(done.map(({ from }) => from).sort(), [0, ...Array(8).fill(LATEST)])
})

t.test('a server that cannot be reached is named as the cause', async (t) => {
  const pool = openPool(t, { connectionString: 'postgres://someone@127.0.0.1:1/nothing' })
  await t.rejects(migrate(pool), {
    code: 'FST_JOURNAL_MIGRATION_FAILED',
    message: /ECONNREFUSED 127\.0\.0\.1:1/,
    cause: { code: 'ECONNREFUSED' }
  })
  await t.rejects(schemaVersion(pool), { code: 'ECONNREFUSED' })
})

t.test('a connection that is cut in mid-migration rejects it, and nothing is left of it', async (t) => {
  const { watcher, holder, pool } = await openBesieged(t)
  const cut = t.rejects(migrate(pool, { schema: 'journal' }), {
    code: 'FST_JOURNAL_MIGRATION_FAILED',
    cause: { code: '57P01' }
  })
  await watcher.query('select pg_terminate_backend($1)', [await lockWaiter(watcher)])
  await cut
  t.equal(pool.totalCount, 0, 'the broken client is not in the pool any more')
  t.same(await inventory(watcher), ['public'])

  pool.on('error', ignore)
  await holder.query('select pg_advisory_unlock_all()')
  t.same(await migrate(pool, { schema: 'journal' }), { from: 0, to: LATEST }, 'the next try works')
})

t.test('a connection whose socket closes in mid-migration rejects it', async (t) => {
  const { watcher, pool } = await openBesieged(t)
  const out = new Promise<pg.PoolClient>((resolve) => { pool.on('acquire', resolve) })
  const cut = t.rejects(migrate(pool), { code: 'FST_JOURNAL_MIGRATION_FAILED', message: /Connection terminated unexpectedly/ })
  await lockWaiter(watcher)
  const client = await out
  client.connection.stream.destroy()
  await cut
  t.equal(pool.totalCount, 0)
})

t.test('an error that stands for many is told by what each of them says', async (t) => {
  t.equal(reasonOf(new AggregateError([new Error('refused by ::1'), new Error('refused by 127.0.0.1')])),
    'refused by ::1, refused by 127.0.0.1')
  t.equal(reasonOf(new AggregateError([], 'all failed')), 'all failed')
  t.equal(reasonOf(new Error('one')), 'one')
  t.equal(reasonOf('thrown text'), 'thrown text')
})
