import t, { type Test } from 'tap'
import { openConnections, startApp, type TestAppOptions } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { ask, eventsOf, eventually, has, makeMessage, upTo } from '../helper/journal.js'
import { connect, frames, ids } from '../helper/sse.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'

/** So that the reader gets what was published, and not what a tick found. */
const NEVER_MS = 600_000

/** One app whose link to Postgres can fail, and another whose link is well, on one database. */
async function startTwo (t: Test, options: TestAppOptions = {}) {
  const databaseUrl = await createTestDatabase(t)
  const well = await startApp(t, { databaseUrl, reconcileMs: NEVER_MS, ...options })
  const proxy = await startTcpProxy(t, databaseUrl)
  const failing = await startApp(t, { databaseUrl: proxy.url, migrate: false, reconcileMs: NEVER_MS, ...options })
  await openConnections(failing.app)
  const openReader = async (messageId: string) => await connect(t, `${well.url}/api/messages/${messageId}/events`)
  return { databaseUrl, proxy, failing, well, openReader }
}

async function count (databaseUrl: string, messageId: string): Promise<number> {
  return (await eventsOf(databaseUrl, messageId)).length
}

t.test('a commit whose answer is lost is found by the next try: one row, published once', async (t) => {
  const { databaseUrl, proxy, failing, openReader } = await startTwo(t)
  const message = await failing.app.journal.openMessage({ userId: 'ada' })
  const reader = await openReader(message.messageId)
  t.equal(await message.record('answer', { no: 0 }), true)
  await reader.until(has(1))

  proxy.set('toClient', 'stall')
  const recorded = message.record('answer', { no: 1 })
  await eventually(async () => await count(databaseUrl, message.messageId) === 2)
  proxy.cut()
  proxy.set('toClient', 'flow')
  t.equal(await recorded, true)
  await reader.until(has(2))
  t.equal(await message.record('answer', { no: 2 }), true)
  t.equal(await message.end(), true)
  await reader.ended
  t.same(ids(reader), upTo(4))
  t.equal(await count(databaseUrl, message.messageId), 4)
})

t.test('the same for an event with a number of the app\'s own, whose commit is a statement of its own', async (t) => {
  const { databaseUrl, proxy, failing, openReader } = await startTwo(t)
  const messageId = await makeMessage(databaseUrl)
  const reader = await openReader(messageId)
  t.equal(await failing.app.journal.recordEvent(messageId, 0, 'answer', { no: 0 }), true)
  await reader.until(has(1))

  // The commit waits for us in a deferred trigger, so that no answer but its own is lost.
  await ask(databaseUrl, `
    create function wait_at_commit () returns trigger language plpgsql as
      'begin perform pg_advisory_xact_lock_shared(7); return null; end';
    create constraint trigger wait_at_commit after insert on message_events
      deferrable initially deferred for each row execute function wait_at_commit()`)
  const pool = failing.app.pg.pool
  const holder = await pool.connect()
  await holder.query('select pg_advisory_lock(7)')
  const recorded = failing.app.journal.recordEvent(messageId, 1, 'answer', { no: 1 })
  await eventually(async () => (await ask(databaseUrl, 'select from pg_locks where locktype = \'advisory\' and objid = 7 and not granted')).length > 0)
  proxy.set('toClient', 'stall')
  holder.query('select pg_advisory_unlock(7)').catch(() => {}) // its answer is stalled, too
  await eventually(async () => await count(databaseUrl, messageId) === 2)
  await ask(databaseUrl, 'drop trigger wait_at_commit on message_events')
  holder.on('error', () => {})
  proxy.cut()
  proxy.set('toClient', 'flow')
  holder.release(true)

  t.equal(await recorded, true)
  await reader.until(has(2))
  t.equal(await failing.app.journal.recordEvent(messageId, 2, 'end', { type: 'end' }), true)
  await reader.ended
  t.same(ids(reader), upTo(3))
  t.equal(frames(reader.raw).match(/"no":1/g)?.length, 1)
})

t.test('a commit whose answer is lost and that another writer\'s fence follows is true, and published', async (t) => {
  const { databaseUrl, proxy, failing, well, openReader } = await startTwo(t)
  const message = await failing.app.journal.openMessage({ userId: 'ada' })
  const reader = await openReader(message.messageId)
  t.equal(await message.record('answer', { by: 'first' }), true)
  await reader.until(has(1))

  proxy.set('toClient', 'stall')
  const committed = message.record('answer', { by: 'first', unsure: true })
  await eventually(async () => await count(databaseUrl, message.messageId) === 2)
  const second = await well.app.journal.openMessage({ userId: 'ada', messageId: message.messageId })
  proxy.cut()
  proxy.set('toClient', 'flow')
  t.equal(await committed, true, 'the row is there')
  t.equal(await message.record('answer', { by: 'first', late: true }), false, 'and no other will be')
  t.equal(message.signal.aborted, true)
  t.match(message.signal.reason, { code: 'FST_JOURNAL_FENCED' })

  t.equal(await second.record('answer', { by: 'second' }), true)
  t.equal(await second.end(), true)
  await reader.ended
  t.same(ids(reader), upTo(4))
  t.same((await eventsOf(databaseUrl, message.messageId)).map(({ payload }) => payload), [
    { by: 'first' }, { by: 'first', unsure: true }, { by: 'second' }, { type: 'end' }
  ])
})

t.test('the last event of a message whose answer is lost ends it once', async (t) => {
  const { databaseUrl, proxy, failing, openReader } = await startTwo(t)
  const message = await failing.app.journal.openMessage({ userId: 'ada' })
  const reader = await openReader(message.messageId)
  proxy.set('toClient', 'stall')
  const ended = message.end()
  await eventually(async () => await count(databaseUrl, message.messageId) === 1)
  proxy.cut()
  proxy.set('toClient', 'flow')
  t.equal(await ended, true)
  await reader.ended
  t.same(ids(reader), ['0'])
  t.same(await eventsOf(databaseUrl, message.messageId), [{ sequenceNo: 0, eventType: 'end', payload: { type: 'end' } }])
})

t.test('a Postgres that stops answering costs a statement\'s timeout a connection, and the events are tried on the next one', async (t) => {
  const { databaseUrl, proxy, failing, openReader } = await startTwo(t, { writeRetryMs: 30_000 })
  const message = await failing.app.journal.openMessage({ userId: 'ada' })
  const reader = await openReader(message.messageId)
  t.equal(await message.record('answer', { no: 0 }), true)
  await reader.until(has(1))

  proxy.stallOpen() // the links that are open now never carry a byte again
  const recorded = await Promise.all([1, 2, 3].map(async (no) => await message.record('answer', { no })))
  t.same(recorded, [true, true, true])
  t.equal(await message.end(), true)
  await reader.ended
  t.same(ids(reader), upTo(5))
  t.same((await eventsOf(databaseUrl, message.messageId)).map(({ payload }) => payload.no), [0, 1, 2, 3, undefined])
})

t.test('a statement that Postgres was told of and only then cut off from is not doubled when it commits late', async (t) => {
  const { databaseUrl, proxy, failing, openReader } = await startTwo(t)
  const message = await failing.app.journal.openMessage({ userId: 'ada' })
  const reader = await openReader(message.messageId)
  const blocker = await failing.app.pg.pool.connect()
  await blocker.query('begin')
  await blocker.query('lock table message_events in share mode')
  const recorded = message.record('answer', { no: 0 })
  await eventually(async () => (await ask(databaseUrl, 'select from pg_locks where relation = \'message_events\'::regclass and not granted')).length > 0)
  proxy.cut() // the transaction that waits is still alive, the one it waits for too, until their backends notice
  blocker.release(true)
  t.equal(await recorded, true)
  t.equal(await message.end(), true)
  await reader.ended
  t.same(ids(reader), upTo(2))
  t.equal(await count(databaseUrl, message.messageId), 2)
})
