import { createServer, connect as openSocket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import type { PoolClient } from 'pg'
import { test } from 'tap'
import { startApp, USER_HEADER } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { listenOnFreePort } from '../helper/free-port.js'
import { ask, eventsOf, eventually } from '../helper/journal.js'
import { holdLock } from '../helper/locks.js'
import { connect, ids } from '../helper/sse.js'
import { linesAbout, observe } from '../helper/writing.js'

/** What an app may do to its database and to its pool. */

test('an app\'s own columns may have any name', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  await database.query(`
    alter table messages add column id bigint, add column number int, add column type text, add column body text, add column writer text,
      add column place int, add column ids uuid[], add column locked boolean, add column written int, add column newest int`)
  const message = await app.journal.openMessage({ userId: 'ada' })

  t.equal(await message.record('answer', { n: 0 }), true)
  t.strictSame(await Promise.all([1, 2].map(async (n) => await message.record('answer', { n }))), [true, true])
  const { release } = await holdLock(t, databaseUrl, 'select from messages where message_id = $1 for update', [message.messageId])
  const waiting = message.record('answer', { n: 3 })
  await delay(100) // it has looked at the locked row
  await release()
  t.equal(await waiting, true)
  await database.query('update messages set last_no = null')
  t.equal(await message.end(), true)

  t.strictSame((await database.rows(message.messageId)).map(({ payload }) => payload), ['{"n":0}', '{"n":1}', '{"n":2}', '{"n":3}', '{"type":"end"}'])
})

test('an event is recorded in a session that has lost its statements, whatever isolation level its transactions begin under', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const database = await observe(t, databaseUrl)
  await database.query(`
    do $$ begin
      execute format('alter database %I set default_transaction_isolation = %L', current_database(), 'repeatable read');
    end $$`)
  const { app } = await startApp(t, { databaseUrl })
  const message = await app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.record('answer', { n: 0 }), true)

  for (const n of [1, 2, 3]) {
    const clients = await Promise.all(Array.from({ length: app.pg.pool.totalCount }, async () => await app.pg.pool.connect()))
    for (const client of clients) {
      await client.query('discard all')
      client.release()
    }
    t.equal(await message.record('answer', { n }), true)
  }

  t.strictSame((await database.rows(message.messageId)).map(({ payload }) => payload), [0, 1, 2, 3].map((n) => `{"n":${n}}`))
})

test('an event that is written on a client which the app has given back within a transaction is committed all the same, or false', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const leave = async (): Promise<void> => {
    const clients = await Promise.all(Array.from({ length: 10 }, async () => await app.pg.pool.connect()))
    for (const client of clients) {
      await client.query('begin; select 1')
      client.release()
    }
  }

  await leave()
  t.equal(await message.record('answer', { n: 0 }), true)
  await leave()
  t.strictSame(await Promise.all([1, 2].map(async (n) => await message.record('answer', { n }))), [true, true])

  t.strictSame((await database.rows(message.messageId)).map(({ payload }) => payload), [0, 1, 2].map((n) => `{"n":${n}}`))
})

test('a rule of the app\'s own on the events keeps no message from being stopped, or from ending as stale', async (t) => {
  const { app, url, databaseUrl } = await startApp(t, { heartbeatMs: 100, producerIdleMs: 600, reconcileMs: 50 })
  const database = await observe(t, databaseUrl)
  await database.query(`
    create table audit (message_id uuid, sequence_no int);
    create rule audit as on insert to message_events do also insert into audit values (new.message_id, new.sequence_no)`)
  const message = await app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.record('answer', {}), true)
  const dead = await database.addMessage()
  await database.query('update messages set epoch = 1, heartbeat_at = now() - interval \'1 hour\' where message_id = $1', [dead])

  const stopped = await fetch(`${url}/api/messages/${message.messageId}/stop`, { method: 'POST', headers: { [USER_HEADER]: 'ada' } })
  await eventually(async () => (await database.message(dead))?.status === 'failed')

  t.equal(stopped.status, 202)
  t.strictSame((await database.rows(message.messageId)).map(({ sequence_no: no }) => no), [0, 1])
  t.strictSame(await database.query('select sequence_no from audit order by message_id = $1, sequence_no', [message.messageId]), [0, 0, 1].map((no) => ({ sequence_no: no })))
})

test('a program cannot take a number behind which a message has no room for its end', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const insert = async (number: number): Promise<unknown> => await database.query('insert into message_events (message_id, sequence_no, event_type) values ($1, $2, \'answer\')', [message.messageId, number])

  await t.rejects(insert(2_000_000_001), { code: '23514', constraint: 'message_events_sequence_no_check' })
  await insert(2_000_000_000)

  t.equal(await message.end(), true)
  t.strictSame((await database.rows(message.messageId)).map(({ sequence_no: no }) => no), [2_000_000_000, 2_000_000_001])
})

const FIELDS = 'SFATAL\0C08P01\0Mserver conn crashed?\0\0'
/** An ErrorResponse as PgBouncer's when its connection to Postgres breaks. */
const POOLER_LOST_ITS_SERVER = Buffer.from(`E\0\0\0${String.fromCharCode(4 + FIELDS.length)}${FIELDS}`)

test('what a pooler says of a connection that broke behind a commit is no answer: the event is in the journal once', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const target = new URL(databaseUrl)
  let word: string | null = null
  const pooler = createServer((client) => {
    const server = openSocket({ host: target.hostname, port: Number(target.port) })
    let isCut = false
    client.on('data', (chunk) => {
      if (word !== null && chunk.includes(word)) {
        isCut = true
        word = null
      }
      server.write(chunk)
    })
    server.on('data', (chunk) => {
      if (isCut) client.end(POOLER_LOST_ITS_SERVER)
      else client.write(chunk)
    })
    for (const [one, other] of [[client, server], [server, client]] as const) {
      one.on('error', () => {})
      one.on('close', () => { other.destroy() })
    }
  })
  const url = new URL(databaseUrl)
  url.hostname = '127.0.0.1'
  url.port = String(await listenOnFreePort(pooler))
  t.teardown(() => { pooler.close() })
  const { app } = await startApp(t, { databaseUrl: url.href })
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })

  word = '{"n":0}'
  t.equal(await message.record('answer', { n: 0 }), true)
  word = '{"n":2}'
  t.strictSame(await Promise.all([1, 2, 3].map(async (n) => await message.record('answer', { n }))), [true, true, true])
  t.strictSame((await database.rows(message.messageId)).map(({ payload }) => payload), [0, 1, 2, 3].map((n) => `{"n":${n}}`))

  word = 'commit\0'
  const opened = await app.journal.openMessage({ userId: 'ada' })
  t.equal(word, null)
  t.strictSame(await database.query('select message_id from messages order by created_at'), [message, opened].map(({ messageId }) => ({ message_id: messageId })))
})

/** Gives the pool's clients back within a transaction, as an app does whose handler fails between BEGIN and COMMIT. */
async function leak (app: FastifyInstance, ...statements: string[]): Promise<void> {
  const clients = await Promise.all(Array.from({ length: 4 }, async () => await app.pg.connect()))
  for (const client of clients) {
    for (const statement of statements) await client.query(statement).catch(() => {})
    client.release()
  }
}

for (const [how, ...statements] of [
  ['an open transaction', 'begin', 'insert into orders values (1)'],
  ['an old snapshot', 'begin isolation level repeatable read', 'select from messages'],
  ['a failed transaction', 'begin', 'nonsense']
] as const) {
  test(`an app that gives its clients back within ${how} loses what it has begun, and nothing of the journal`, async (t) => {
    const { app, databaseUrl, url } = await startApp(t, { pool: { max: 4, idleTimeoutMillis: 0 }, reconcileMs: 50, heartbeatMs: 50 })
    await ask(databaseUrl, 'create table orders (no int)')
    const message = await app.journal.openMessage({ userId: 'ada' })
    t.equal(await message.record('answer', { n: 0 }), true)
    const path = `${url}/api/messages/${message.messageId}/events`
    await leak(app, ...statements)
    t.equal(await message.record('answer', { n: 1 }), true)
    await leak(app, ...statements)
    const reader = await connect(t, path, { headers: { 'last-event-id': '0' } })
    t.equal(reader.status, 200)
    await leak(app, ...statements)
    t.equal(await message.touch(), true)
    await leak(app, ...statements)
    const other = await app.journal.openMessage({ userId: 'ada' })
    await leak(app, ...statements)
    t.equal((await connect(t, `${url}/api/messages/${other.messageId}/events`, { headers: { 'last-event-id': '7' } })).status, 200)
    await leak(app, ...statements)
    t.equal(await message.end(), true)
    await reader.ended
    t.strictSame(ids(reader), ['1', '2'])
    t.strictSame(await ask(databaseUrl, 'select from orders'), [])
    t.strictSame(await ask(databaseUrl, 'select now() - touched_at < interval \'1 minute\' as fresh from messages where message_id = $1', [message.messageId]), [{ fresh: true }])
  })
}

test('an app that goes on with a client that it has given back has each event once, whatever it commits', async (t) => {
  const { app, databaseUrl } = await startApp(t, { pool: { max: 1 }, reconcileMs: 600_000, heartbeatMs: 600_000, producerIdleMs: 1_200_000 })
  await ask(databaseUrl, 'create table orders (no int)')
  const message = await app.journal.openMessage({ userId: 'ada' })

  const client = await app.pg.connect()
  const queued = ['begin', 'insert into orders values (1)'].map((statement) => client.query(statement)) // and no await
  const first = message.record('answer', { n: 0 })
  client.release()
  await Promise.all(queued)
  t.equal(await first, true)

  // Between two statements of the journal, the first of which waits for the row
  const held = await holdLock(t, databaseUrl, 'select from messages for update')
  app.pg.pool.once('acquire', (other) => setImmediate(() => other.query('begin').catch(() => {})))
  const second = message.record('answer', { n: 1 })
  await delay(100)
  await held.release()
  t.equal(await second, true)

  t.equal(await message.end(), true)
  t.strictSame((await eventsOf(databaseUrl, message.messageId)).map(({ payload }) => payload), [{ n: 0 }, { n: 1 }, { type: 'end' }])
  t.strictSame(await ask(databaseUrl, 'select from orders'), [])
})

test('an app whose every client is within a transaction has its events refused, with the reason', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t, { writeRetryMs: 4_000 })
  const message = await app.journal.openMessage({ userId: 'ada' })
  const begin = (client: PoolClient): void => { client.query('begin').catch(() => {}) }
  app.pg.pool.on('connect', begin)
  await leak(app, 'begin')

  t.equal(await message.record('answer', { n: 0 }), false)
  t.match(linesAbout(lines, 'an event was not recorded').at(-1), { err: { message: 'the app gives its clients back within transactions' } })
  app.pg.pool.off('connect', begin)
  t.equal(await message.record('answer', { n: 1 }), true)
  t.strictSame((await eventsOf(databaseUrl, message.messageId)).map(({ payload }) => payload), [{ n: 1 }])
})
