import { setImmediate as turn } from 'node:timers/promises'
import pg, { type PoolClient } from 'pg'
import { test } from 'tap'
import { startApp } from '../helper/app.js'
import { countStatements, holdInserts, listen, observe } from '../helper/writing.js'

const { query } = pg.Client.prototype

test('concurrent events of many messages share INSERTs', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageIds = await Promise.all(Array.from({ length: 100 }, () => database.addMessage()))
  const inserts = await database.countInserts()

  const recorded = messageIds.flatMap((messageId) => [0, 1, 2].map((sequenceNo) => app.journal.recordEvent(messageId, sequenceNo, 'answer', {})))

  t.ok((await Promise.all(recorded)).every(Boolean))
  const count = await inserts()
  t.ok(count > 0 && count < 10, `${count} INSERTs for ${recorded.length} events`)
})

test('the events of one turn of the event loop share the first INSERT', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const inserts = await database.countInserts()

  const recorded = [0, 1, 2].map((sequenceNo) => app.journal.recordEvent(messageId, sequenceNo, 'answer', {}))

  t.ok((await Promise.all(recorded)).every(Boolean))
  t.equal(await inserts(), 1)
})

test('events that come while an INSERT is under way share the next one', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const inserts = await database.countInserts()
  const release = await holdInserts(t, databaseUrl)

  const recorded = [app.journal.recordEvent(messageId, 0, 'answer', {})]
  await database.untilWaiting()
  for (let sequenceNo = 1; sequenceNo < 100; sequenceNo++) {
    recorded.push(app.journal.recordEvent(messageId, sequenceNo, 'answer', {}))
    await turn()
  }
  await release()

  t.ok((await Promise.all(recorded)).every(Boolean))
  t.equal(await inserts(), 2)
})

test('a thousand record() calls in flight commit in the order of the calls', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const topics = await listen(t, app, message.messageId)
  const inserts = await database.countInserts()
  const numbers = Array.from({ length: 1_000 }, (_, n) => n)
  const settled: number[] = []

  await Promise.all(numbers.map(async (n) => {
    t.equal(await message.record('answer', { n }), true)
    settled.push(n)
  }))

  t.strictSame(settled, numbers)
  t.strictSame((await database.rows(message.messageId)).map((row) => [row.sequence_no, row.payload]), numbers.map((n) => [n, `{"n":${n}}`]))
  const count = await inserts()
  t.ok(count < 10, `${count} INSERTs`)
  await topics.until(1_000)
  t.strictSame(topics.envelopes.map((envelope) => envelope.sequence_no), numbers)
})

test('record() calls over many turns commit in the order of the calls', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messages = await Promise.all(Array.from({ length: 4 }, () => app.journal.openMessage({ userId: 'ada' })))
  const numbers = Array.from({ length: 300 }, (_, n) => n)

  const recorded: Array<Promise<boolean>> = []
  for (const n of numbers) {
    for (const message of messages) recorded.push(message.record('answer', { n }))
    if (n % 3 === 0) await turn()
    if (n % 50 === 0) await recorded.at(-1)
  }

  t.ok((await Promise.all(recorded)).every(Boolean))
  for (const { messageId } of messages) {
    t.strictSame((await database.rows(messageId)).map((row) => [row.sequence_no, row.payload]), numbers.map((n) => [n, `{"n":${n}}`]))
  }
})

test('a lone event is on its way before any timer could fire', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  await app.journal.recordEvent(messageId, 0, 'answer', {})
  await turn()
  const { pool } = app.pg
  t.equal(pool.totalCount - pool.idleCount, 0)

  const recorded = app.journal.recordEvent(messageId, 1, 'answer', {})
  await new Promise<void>((resolve) => process.nextTick(resolve)) // runs before the event loop goes on

  t.equal(pool.totalCount - pool.idleCount, 1, 'a client is at work')
  t.equal(await recorded, true)
})

test('at most two clients of the pool are lent for writing', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageIds = await Promise.all(Array.from({ length: 100 }, () => database.addMessage()))
  const writing = new Set<PoolClient>()
  let most = 0
  t.intercept(pg.Client.prototype, 'query', {
    value (this: PoolClient, ...args: unknown[]) {
      if (JSON.stringify(args[0]).includes('journal_append')) writing.add(this)
      most = Math.max(most, writing.size)
      return Reflect.apply(query, this, args)
    }
  })
  app.pg.pool.on('release', (_error, client) => { writing.delete(client) })

  const recorded: Array<Promise<boolean>> = []
  for (let sequenceNo = 0; sequenceNo < 20; sequenceNo++) {
    for (const messageId of messageIds) recorded.push(app.journal.recordEvent(messageId, sequenceNo, 'answer', {}))
    await turn()
  }

  t.ok((await Promise.all(recorded)).every(Boolean))
  t.ok(most > 0 && most <= 2, `${most} at once`)
})

test('a load larger than a batch is committed in several, in order', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const inserts = await database.countInserts()
  const answer = 'a'.repeat(900_000)

  const recorded = Array.from({ length: 12 }, (_, n) => message.record('answer', { n, answer }))

  t.ok((await Promise.all(recorded)).every(Boolean))
  t.ok(await inserts() >= 3, 'by bytes')
  const small = Array.from({ length: 2_500 }, (_, n) => message.record('answer', { n: 12 + n }))
  t.ok((await Promise.all(small)).every(Boolean))
  t.ok(await inserts() >= 6, 'and by events')
  t.strictSame((await database.rows(message.messageId)).map((row) => JSON.parse(row.payload).n), Array.from({ length: 2_512 }, (_, n) => n))
})

for (const [what, lock] of [['message', 'select from messages where message_id = $1 for update'], ['table', 'lock table message_events in share mode']] as const) {
  test(`an event whose ${what} is locked waits, and nothing overtakes it`, async (t) => {
    const { app, databaseUrl } = await startApp(t)
    const database = await observe(t, databaseUrl)
    const messageId = await database.addMessage()
    const topics = await listen(t, app, messageId)
    const elsewhere = await app.pg.pool.connect()
    t.teardown(async () => { elsewhere.release() })
    await elsewhere.query('begin')
    await elsewhere.query(lock, what === 'message' ? [messageId] : [])
    const tries = countStatements(app, /append/)

    const recorded = [0, 1].map((sequenceNo) => app.journal.recordEvent(messageId, sequenceNo, 'answer', {}))
    if (what === 'table') {
      await database.untilWaiting()
      await database.query('select pg_cancel_backend(pid) from pg_stat_activity where wait_event_type = \'Lock\' and datname = current_database()')
    }
    while (tries() < 2) await turn()
    recorded.push(app.journal.recordEvent(messageId, 2, 'answer', {}))
    await elsewhere.query('commit')

    t.strictSame(await Promise.all(recorded), [true, true, true])
    await topics.until(3)
    t.strictSame(topics.envelopes.map((envelope) => envelope.sequence_no), [0, 1, 2])
  })
}

test('what was recorded before the app closes is committed', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageIds = await Promise.all(Array.from({ length: 20 }, () => database.addMessage()))

  const recorded = messageIds.map((messageId) => app.journal.recordEvent(messageId, 0, 'answer', {}))
  await app.close()

  t.ok((await Promise.all(recorded)).every(Boolean))
  for (const messageId of messageIds) t.equal((await database.rows(messageId)).length, 1)
})

test('a message whose row is locked is told false and gets nothing later; the others of its batch are recorded', async (t) => {
  const { app, databaseUrl } = await startApp(t, { writeRetryMs: 1_000, heartbeatMs: 600_000, producerIdleMs: 1_200_000 })
  const database = await observe(t, databaseUrl)
  const [locked, free] = await Promise.all([app.journal.openMessage({ userId: 'ada' }), app.journal.openMessage({ userId: 'ada' })])
  const [lockedId, freeId] = [await database.addMessage(), await database.addMessage()]
  await database.query('begin')
  await database.query('select from messages where message_id = any ($1) for update', [[locked.messageId, lockedId]])

  const attempts = { locked: [] as Array<Promise<boolean>>, free: [] as Array<Promise<boolean>> }
  for (const n of [0, 1]) { // one, and what waits behind it
    attempts.locked.push(locked.record('answer', { n }), app.journal.recordEvent(lockedId, n, 'answer', { n }))
    attempts.free.push(free.record('answer', { n }), app.journal.recordEvent(freeId, n, 'answer', { n }))
  }
  t.strictSame(await Promise.all(attempts.locked), [false, false, false, false])
  t.strictSame(await Promise.all(attempts.free), [true, true, true, true])
  await database.query('commit')

  t.equal(await locked.end(), true) // behind whatever may still have been waiting
  for (const messageId of [free.messageId, freeId]) t.equal((await database.rows(messageId)).length, 2)
  t.strictSame((await database.rows(locked.messageId)).map(({ event_type: type }) => type), ['end'])
  t.strictSame(await database.rows(lockedId), [])
})
