import pg from 'pg'
import t, { type Test } from 'tap'
import { createConnection } from '../../plugin/postgres/connection.js'
import { NotSentError } from '../../plugin/postgres/failures.js'
import { createStatements, tablesOf } from '../../plugin/postgres/statements.js'
import { hurryTimers } from '../helper/clock.js'
import { createTestDatabase } from '../helper/database.js'
import { ask } from '../helper/journal.js'

const STATEMENT_TIMEOUT_MS = 5_000

async function start (t: Test) {
  const databaseUrl = await createTestDatabase(t)
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 1 })
  pool.on('error', () => {})
  t.teardown(() => pool.end())
  return { pool, databaseUrl, connection: createConnection(pool, createStatements(tablesOf(undefined)), 10_000) }
}

t.test('without a connection in time a statement counts as not sent, and one that comes late goes back to the pool', async (t) => {
  const { pool, connection } = await start(t)
  const held = await pool.connect()
  hurryTimers(t, STATEMENT_TIMEOUT_MS, 20)
  t.ok(await connection.query('findLatest', [null]).catch((error: unknown) => error) instanceof NotSentError)
  held.release()
  const client = await pool.connect() // behind the one that was waited for
  t.equal(pool.waitingCount, 0)
  client.release()
})

t.test('an error of Postgres keeps the connection, and leaves no transaction behind', async (t) => {
  const { pool, connection } = await start(t)
  await t.rejects(connection.query('findLatest', [null]), { code: '42P01' })
  await t.rejects(connection.transaction('select 1', async (held) => await held.query('findLatest', [null])), { code: '42P01' })
  await t.rejects(connection.transaction('select 1', async () => { throw Object.assign(new Error('ours'), { code: '22000', severity: 'ERROR' }) }), { message: 'ours' })
  t.equal(pool.totalCount, 1)
  const { rows } = await pool.query('select pg_current_xact_id_if_assigned() is null and now() = statement_timestamp() as idle')
  t.same(rows, [{ idle: true }])
})

t.test('a connection that breaks in a transaction is closed, and nothing is committed', async (t) => {
  const { pool, databaseUrl, connection } = await start(t)
  await pool.query('create table rows (no int)')
  await t.rejects(connection.transaction('insert into rows values (1); select pg_backend_pid()', async (held, [, pids = []]) => {
    await ask(databaseUrl, 'select pg_terminate_backend($1)', pids[0])
    return await held.query('findLatest', [null])
  }))
  t.equal(pool.totalCount, 0)
  t.same((await pool.query('select no from rows')).rows, [])
})

t.test('a transaction that Postgres has rolled back is not taken for one that is committed', async (t) => {
  const { pool, connection } = await start(t)
  await pool.query('create table rows (no int)')
  const refused = connection.transaction('insert into rows values (1)', async (held) => {
    await held.query('findLatest', [null]).catch(() => {}) // the work does not mind, and goes on to its COMMIT
  })
  await t.rejects(refused, { message: /was not committed: ROLLBACK/ })
  t.same((await pool.query('select no from rows')).rows, [])
})
