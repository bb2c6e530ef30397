import pg from 'pg'
import t from 'tap'
import { checkPublishes, checkRows, checkStreams } from '../../bench/harness/checks.js'
import { connectRedis } from '../../bench/harness/redis.js'
import { fill } from '../../bench/harness/filling.js'
import { fillInBulk } from '../../bench/harness/bulk.js'
import { keyOf, messageIdOf, notificationOf, payloadOf } from '../../bench/harness/workload.js'
import { migrate } from '../../plugin/ops/migrate.js'
import { createTestDatabase, type Teardown } from '../helper/database.js'

async function openTables (t: Teardown) {
  const databaseUrl = await createTestDatabase(t)
  const pool = new pg.Pool({ connectionString: databaseUrl })
  pool.on('error', () => {}) // a session that ends with its database
  t.teardown(async () => { await pool.end() })
  await migrate(pool)
  return { databaseUrl, query: async <Row extends pg.QueryResultRow>(sql: string, values?: unknown[]) => (await pool.query<Row>(sql, values)).rows }
}

t.test('a row that is missing, too many, misnumbered or altered fails the run', async (t) => {
  const bench = await openTables(t)
  await fill(bench, { messages: 3, rows: 10, finished: false })
  await checkRows(bench, 30)
  await checkRows(bench, 20, 1)
  await t.rejects(checkRows(bench, 31), { name: 'CheckError' })
  await t.rejects(checkRows(bench, 29), { name: 'CheckError' })

  await bench.query('alter table message_events disable trigger journal_refuse_renumbering')
  await bench.query('update message_events set sequence_no = 10 where sequence_no = 9 and message_id = $1', [messageIdOf(1)])
  await bench.query('update message_events set payload = $2 where sequence_no = 10 and message_id = $1', [messageIdOf(1), JSON.stringify(payloadOf(keyOf(messageIdOf(1)), 10))])
  await t.rejects(checkRows(bench, 30), { message: /gap/ })
  await bench.query('update message_events set payload = $2, sequence_no = 9 where sequence_no = 10 and message_id = $1', [messageIdOf(1), JSON.stringify(payloadOf(keyOf(messageIdOf(1)), 8))])
  await t.rejects(checkRows(bench, 30), { message: /other bytes/ })
})

t.test('the bulk load leaves the tables that the migrations make', async (t) => {
  const bench = await openTables(t)
  const shape = async () => await bench.query(`
    select pg_get_constraintdef(oid) as definition from pg_constraint where conrelid = 'message_events'::regclass
    union all select pg_get_indexdef(indexrelid) from pg_index where indrelid = 'message_events'::regclass order by 1`)
  const before = await shape()
  await fillInBulk(bench.databaseUrl, { messages: 3, rows: 10, finished: true })
  t.same(await shape(), before)
  const [message] = await bench.query<{ rows: number, ends: number, dense: boolean }>(`
    select count(*)::int as rows, count(*) filter (where event_type = 'end')::int as ends, max(sequence_no) = 9 as dense from message_events`)
  t.same(message, { rows: 30, ends: 3, dense: true })
})

t.test('a notification that is missing or altered, and a publish that is missing, fail the run', async (t) => {
  const redisUrl = process.env['TEST_REDIS_URL'] ?? ''
  const { redis, close } = await connectRedis(redisUrl)
  const users = [`check-${process.pid}-1`, `check-${process.pid}-2`]
  t.teardown(async () => {
    await redis.del(users.map((userId) => `user:${userId}:stream`))
    await close()
  })
  for (const userId of users) for (let n = 0; n < 3; n++) await redis.xadd(`user:${userId}:stream`, '*', 'event', notificationOf(userId, n))
  await checkStreams(redisUrl, users, 6)
  await t.rejects(checkStreams(redisUrl, users, 7), { name: 'CheckError' })
  await redis.xadd(`user:${users[0]}:stream`, '*', 'event', notificationOf(users[0] ?? '', 4))
  await t.rejects(checkStreams(redisUrl, users, 7), { name: 'CheckError', message: /entry/ })

  await checkPublishes({ publishes: async () => 7 }, 2, 5)
  await t.rejects(checkPublishes({ publishes: async () => 8 }, 2, 5), { name: 'CheckError' })
})
