import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import { startApp } from '../helper/app.js'
import { countStatements, linesAbout, listen, observe } from '../helper/writing.js'

test('an event of no message is false, published as not committed, and not tried again', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = randomUUID()
  const topics = await listen(t, app, messageId)
  const appends = countStatements(app, /append/)

  t.equal(await app.journal.recordEvent(messageId, 7, 'answer', { answer: 'a' }), false)

  t.equal(appends(), 1)
  t.strictSame(await database.rows(messageId), [])
  await topics.until(1)
  t.strictSame(topics.texts, [`{"message_id":"${messageId}","sequence_no":7,"event_type":"answer","payload":{"answer":"a"},"committed":false}`])
})

test('a missing message is logged once per message', async (t) => {
  const { app, lines } = await startApp(t)
  const [first, second] = [randomUUID(), randomUUID()]

  for (const messageId of [first, second, first, second]) t.equal(await app.journal.recordEvent(messageId, 7, 'answer', {}), false)

  t.match(linesAbout(lines, 'there is no such message'), [
    { level: 40, messageId: first, sequenceNo: 7, eventType: 'answer' },
    { level: 40, messageId: second, sequenceNo: 7, eventType: 'answer' }
  ])
  t.equal(linesAbout(lines, 'there is no such message').length, 2)
})

test('a missing message is logged once, also among more of them than are remembered', async (t) => {
  const { app, lines } = await startApp(t)
  const messageIds = Array.from({ length: 1_100 }, () => randomUUID())

  const named = (): string[] => linesAbout(lines, 'there is no such message').map(({ messageId }) => String(messageId))

  await Promise.all(messageIds.map((messageId) => app.journal.recordEvent(messageId, 0, 'answer', {})))
  await app.journal.recordEvent(named().at(-1) ?? '', 1, 'answer', {})

  t.strictSame(named().sort(), messageIds.sort())
})

test('a message that comes to be after all takes events', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = randomUUID()

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), false)
  await database.query('insert into messages (message_id) values ($1)', [messageId])

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), true)
})

test('an event that the database refuses is false, logged with its cause, and published as not committed', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t)
  const database = await observe(t, databaseUrl)
  await database.refuse()
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)

  t.equal(await app.journal.recordEvent(messageId, 7, 'refused', { n: 1 }), false)

  t.strictSame(await database.rows(messageId), [])
  await topics.until(1)
  t.strictSame(topics.texts, [`{"message_id":"${messageId}","sequence_no":7,"event_type":"refused","payload":{"n":1},"committed":false}`])
  t.match(linesAbout(lines, 'an event was not recorded'), [
    { level: 50, messageId, sequenceNo: 7, eventType: 'refused', err: { message: 'refused by the test' } }
  ])
})

test('an event that Postgres cannot read is false', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  let payload = {}
  for (let level = 0; level < 7_000; level++) payload = { a: payload } // more than max_stack_depth lets Postgres parse

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', payload), false)
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), true)
})

test('a table that is gone is false at once, for every event', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  await database.query('alter table message_events rename to elsewhere')

  const recorded = await Promise.all([0, 1, 2].map((sequenceNo) => app.journal.recordEvent(messageId, sequenceNo, 'answer', {})))

  t.strictSame(recorded, [false, false, false])
  t.match(linesAbout(lines, 'an event was not recorded')[0], { level: 50, err: { code: '42P01' } })
  await database.query('alter table elsewhere rename to message_events')
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), true)
})

/** How a database may say that one row is not to its liking: triggers choose any code, row security and views have theirs. */
const refusals = ['P0001', '23514', '22000', '54001', '42501', '44000', 'ZZ001', '23505']

for (const errcode of refusals) {
  test(`an event refused with ${errcode} does not cost its neighbours in the same INSERT`, { timeout: 5_000 }, async (t) => {
    const { app, databaseUrl } = await startApp(t, { writeRetryMs: 1_000 })
    const database = await observe(t, databaseUrl)
    await database.refuse(errcode)
    const [messageId, otherId] = [await database.addMessage(), await database.addMessage()]
    const topics = await listen(t, app, messageId)
    const types = ['a', 'refused', 'b', 'c', 'refused', 'd', 'e']

    const recorded = types.map((type, sequenceNo) => app.journal.recordEvent(messageId, sequenceNo, type, {}))
    const other = app.journal.recordEvent(otherId, 0, 'answer', {})

    t.strictSame(await Promise.all(recorded), types.map((type) => type !== 'refused'))
    t.equal(await other, true)
    t.strictSame((await database.rows(messageId)).map((row) => [row.sequence_no, row.event_type]), [[0, 'a'], [2, 'b'], [3, 'c'], [5, 'd'], [6, 'e']])
    await topics.until(types.length)
    t.strictSame(topics.envelopes.map(({ sequence_no: sequenceNo, committed }) => [sequenceNo, committed]),
      types.map((type, sequenceNo) => [sequenceNo, type !== 'refused']))
  })
}
