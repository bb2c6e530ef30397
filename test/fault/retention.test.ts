import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startApp } from '../helper/app.js'
import { hurryTimers } from '../helper/clock.js'
import { ask, eventsOf, eventually, insertEvents, makeMessage, statusOf } from '../helper/journal.js'
import { holdLock } from '../helper/locks.js'
import { beforeStatements } from '../helper/writing.js'

const INTERVAL_MS = 600_000
const OLD = 'now() - interval \'15 days\''

async function age (databaseUrl: string, messageId: string, { events = OLD, message = OLD } = {}): Promise<void> {
  await ask(databaseUrl, `update messages set created_at = ${message}, heartbeat_at = case when heartbeat_at is not null then ${message} end where message_id = $1`, [messageId])
  await ask(databaseUrl, `update message_events set created_at = ${events} where message_id = $1`, [messageId])
}

/** A database that keeps the size of each DELETE. */
async function start (t: Test) {
  const started = await startApp(t)
  await ask(started.databaseUrl, `
    create table batches (rows bigint, at timestamptz default clock_timestamp());
    create function count_batch () returns trigger language plpgsql as
      'begin insert into batches (rows) select count(*) from gone; return null; end';
    create trigger count_batch after delete on message_events
      referencing old table as gone for each statement execute function count_batch()`)
  return started
}

async function batches (databaseUrl: string): Promise<number[]> {
  return (await ask<{ rows: string }>(databaseUrl, 'select rows from batches where rows > 0 order by at')).map(({ rows }) => Number(rows))
}

t.test('cleanup deletes what is old in batches, and keeps what is not', async (t) => {
  const { app, databaseUrl } = await start(t)
  const [old, young, half] = await Promise.all([makeMessage(databaseUrl), makeMessage(databaseUrl), makeMessage(databaseUrl)])
  const living = await app.journal.openMessage({ userId: 'ada' })
  await insertEvents(databaseUrl, old, { count: 2_500 })
  await insertEvents(databaseUrl, young, { count: 3 })
  await insertEvents(databaseUrl, half, { count: 4 })
  await age(databaseUrl, old)
  await age(databaseUrl, half)
  await ask(databaseUrl, 'update message_events set created_at = now() where message_id = $1 and sequence_no > 1', [half])
  // It has no events yet, is old, and its producer is alive.
  await ask(databaseUrl, `update messages set created_at = ${OLD} where message_id = $1`, [living.messageId])

  t.same(await app.journal.cleanup({ olderThanDays: 14 }), { events: 2_502, messages: 1 })
  t.same(await batches(databaseUrl), [1_000, 1_000, 502])
  t.same((await ask<{ message_id: string }>(databaseUrl, 'select message_id from messages')).map((row) => row.message_id).sort(), [young, half, living.messageId].sort())
  t.same((await eventsOf(databaseUrl, half)).map(({ sequenceNo }) => sequenceNo), [2, 3])
  t.equal((await eventsOf(databaseUrl, young)).length, 3)
  t.same(await app.journal.cleanup({ olderThanDays: 14 }), { events: 0, messages: 0 })
})

t.test('a message that is opened again while old ones are deleted stays, and one whose row is locked holds no other up', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const [opened, old, locked] = [await makeMessage(databaseUrl), await makeMessage(databaseUrl), await makeMessage(databaseUrl)]
  for (const messageId of [opened, old, locked]) await age(databaseUrl, messageId)
  let cleaned: unknown
  let isFirst = true
  beforeStatements(app, /^commit$/, async () => {
    if (!isFirst) return
    isFirst = false
    const { release } = await holdLock(t, databaseUrl, 'select from messages where message_id = $1 for update', [locked])
    app.journal.cleanup({ olderThanDays: 14 }).then((counts) => { cleaned = counts }, (error: unknown) => { cleaned = error })
    await eventually(async () => cleaned !== undefined || (await ask(databaseUrl, 'select from pg_locks where not granted')).length > 0)
    await release()
  })

  const message = await app.journal.openMessage({ userId: 'ada', messageId: opened })

  await eventually(() => cleaned !== undefined)
  t.same(cleaned, { events: 0, messages: 1 })
  t.equal(await message.record('answer', {}), true)
  t.same((await ask<{ message_id: string }>(databaseUrl, 'select message_id from messages')).map((row) => row.message_id).sort(), [opened, locked].sort())
})

t.test('two processes at once: each row is deleted once, and neither fails', async (t) => {
  const one = await start(t)
  const { databaseUrl } = one
  const two = await startApp(t, { databaseUrl, migrate: false })
  const messageId = await makeMessage(databaseUrl)
  await insertEvents(databaseUrl, messageId, { count: 5_000 })
  await age(databaseUrl, messageId)
  const cleaned = await Promise.all([one, two, one, two].map(async ({ app }) => await app.journal.cleanup({ olderThanDays: 14 })))
  const rest = await one.app.journal.cleanup({ olderThanDays: 14 })
  t.equal([...cleaned, rest].reduce((sum, { events }) => sum + events, 0), 5_000)
  t.equal([...cleaned, rest].reduce((sum, { messages }) => sum + messages, 0), 1)
})

t.test('while another process deletes, nothing is deleted here', async (t) => {
  const { app, databaseUrl } = await start(t)
  const messageId = await makeMessage(databaseUrl)
  await insertEvents(databaseUrl, messageId, { count: 10 })
  await age(databaseUrl, messageId)
  const other = await app.pg.pool.connect()
  try {
    await other.query('begin; select pg_advisory_xact_lock(x\'726574656e74696f\'::bigint)')
    t.same(await app.journal.cleanup({ olderThanDays: 14 }), { events: 0, messages: 0 })
    await other.query('rollback')
  } finally {
    other.release()
  }
  t.same(await app.journal.cleanup({ olderThanDays: 14 }), { events: 10, messages: 1 })
})

t.test('olderThanDays must be a whole number of days, from 1 to a century', async (t) => {
  const { app } = await startApp(t)
  for (const olderThanDays of [0, -1, 1.5, Number.NaN, Infinity, 36_501, '14', null, undefined]) {
    await t.rejects(app.journal.cleanup({ olderThanDays: olderThanDays as number }), { code: 'FST_JOURNAL_INVALID_OPTION', message: /olderThanDays/ })
  }
})

t.test('the option retentionDays cleans up by itself', async (t) => {
  hurryTimers(t, INTERVAL_MS, 50)
  const { databaseUrl } = await startApp(t, { retentionDays: 3 })
  const [old, young] = await Promise.all([makeMessage(databaseUrl), makeMessage(databaseUrl)])
  await insertEvents(databaseUrl, young)
  await insertEvents(databaseUrl, old)
  await age(databaseUrl, old, { events: 'now() - interval \'4 days\'', message: 'now() - interval \'4 days\'' })
  await eventually(async () => await statusOf(databaseUrl, old) === undefined)
  t.equal((await eventsOf(databaseUrl, young)).length, 1)
})

t.test('retentionDays 0 keeps everything', async (t) => {
  hurryTimers(t, INTERVAL_MS, 10)
  const { databaseUrl } = await startApp(t, { retentionDays: 0 })
  const messageId = await makeMessage(databaseUrl)
  await insertEvents(databaseUrl, messageId)
  await age(databaseUrl, messageId, { events: 'now() - interval \'10 years\'' })
  await delay(300)
  t.equal((await eventsOf(databaseUrl, messageId)).length, 1)
})

t.test('a cleanup that fails is logged, and tried again at its next time', async (t) => {
  hurryTimers(t, INTERVAL_MS, 50)
  const { databaseUrl, lines } = await startApp(t)
  const messageId = await makeMessage(databaseUrl)
  await insertEvents(databaseUrl, messageId)
  await ask(databaseUrl, `
    create function refuse () returns trigger language plpgsql as 'begin raise exception ''not now''; end';
    create trigger refuse before delete on message_events for each row execute function refuse()`)
  await age(databaseUrl, messageId)
  await eventually(() => lines.some(({ msg }) => msg === 'journal: old events could not be deleted'))
  await ask(databaseUrl, 'drop trigger refuse on message_events')
  await eventually(async () => await statusOf(databaseUrl, messageId) === undefined)
})
