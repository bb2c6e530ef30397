import { test } from 'tap'
import { startApp } from '../helper/app.js'
import { holdInserts, listen, observe } from '../helper/writing.js'

test('a number that a different event has is replaced by the latest plus one, and published so', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  for (const sequenceNo of [0, 1, 5]) await app.journal.recordEvent(messageId, sequenceNo, 'answer', { sequenceNo })
  const topics = await listen(t, app, messageId)

  t.equal(await app.journal.recordEvent(messageId, 1, 'answer', { late: true }), true)

  t.strictSame((await database.rows(messageId)).at(-1), { sequence_no: 6, event_type: 'answer', payload: '{"late":true}' })
  t.equal((await database.rows(messageId)).length, 4)
  await topics.flushed()
  t.strictSame(topics.texts, [`{"message_id":"${messageId}","sequence_no":6,"event_type":"answer","payload":{"late":true},"committed":true}`])
})

test('an event of another type with the same payload is a different event, and so is one with another key order', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', { a: 1, b: 2 }), true)
  t.equal(await app.journal.recordEvent(messageId, 0, 'tool', { a: 1, b: 2 }), true)
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', { b: 2, a: 1 }), true)

  t.strictSame((await database.rows(messageId)).map((row) => row.sequence_no), [0, 1, 2])
})

test('a retry that finds the very same event is true, writes nothing and publishes nothing', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', { answer: 'a' }), true)
  t.equal(await app.journal.recordEvent(messageId, 1, 'answer', { answer: 'b' }), true)
  const before = await database.query('select *, xmin::text from message_events order by sequence_no')
  const topics = await listen(t, app, messageId)

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', { answer: 'a' }), true)

  t.strictSame(await database.query('select *, xmin::text from message_events order by sequence_no'), before)
  await topics.flushed()
  t.strictSame(topics.texts, [])
})

test('events of one batch that want one number, and those behind them, get numbers in the order of the calls', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  await app.journal.recordEvent(messageId, 0, 'answer', { n: 'first' })
  const topics = await listen(t, app, messageId)
  const wanted = [0, 1, 1, 2, 9, 3]

  const recorded = await Promise.all(wanted.map((sequenceNo, n) => app.journal.recordEvent(messageId, sequenceNo, 'answer', { n })))

  t.strictSame(recorded, wanted.map(() => true))
  const placed = [[1, 0], [2, 1], [3, 2], [4, 3], [9, 4], [10, 5]]
  t.strictSame((await database.rows(messageId)).slice(1).map((row) => [row.sequence_no, JSON.parse(row.payload).n]), placed)
  await topics.flushed()
  t.strictSame(topics.envelopes.map((envelope) => [envelope.sequence_no, envelope.payload['n']]), placed)
})

test('a taken number does not move the events of other messages in the same INSERT', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const [messageId, ...others] = await Promise.all(Array.from({ length: 5 }, () => database.addMessage()))
  if (messageId === undefined) throw new Error('no message')
  await app.journal.recordEvent(messageId, 0, 'answer', { n: 'first' })

  await Promise.all([messageId, ...others].map((id) => app.journal.recordEvent(id, 0, 'answer', {})))

  for (const id of others) t.strictSame((await database.rows(id)).map((row) => row.sequence_no), [0])
  t.strictSame((await database.rows(messageId)).map((row) => row.sequence_no), [0, 1])
})

test('the same event twice at once is one row, published once, and true for both', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)

  const recorded = await Promise.all([0, 0].map((sequenceNo) => app.journal.recordEvent(messageId, sequenceNo, 'answer', { answer: 'a' })))

  t.strictSame(recorded, [true, true])
  t.strictSame((await database.rows(messageId)).map((row) => row.sequence_no), [0])
  await topics.flushed()
  t.equal(topics.texts.length, 1)
})

test('the same event twice at once is false for both when its row does not get in', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  await database.query(`
    create function refuse () returns trigger language plpgsql as $$
    begin
      raise exception 'refused by the test';
    end $$;
    create trigger refuse before insert on message_events for each row execute function refuse()`)

  const recorded = await Promise.all([0, 0].map((sequenceNo) => app.journal.recordEvent(messageId, sequenceNo, 'answer', { answer: 'a' })))

  t.strictSame(await database.rows(messageId), [])
  t.strictSame(recorded, [false, false])
})

test('a number that is taken while the event waits is found', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const { app: other } = await startApp(t, { databaseUrl })
  const release = await holdInserts(t, databaseUrl)

  const recorded = [app, other].map(({ journal }, n) => journal.recordEvent(messageId, 0, 'answer', { n }))
  await database.untilWaiting()
  await release()

  t.strictSame(await Promise.all(recorded), [true, true])
  t.strictSame((await database.rows(messageId)).map((row) => row.sequence_no), [0, 1])
})

test('writers of two processes that count for themselves lose nothing', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const { app: other } = await startApp(t, { databaseUrl })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)

  const recorded: Array<Promise<boolean>> = []
  for (let sequenceNo = 0; sequenceNo < 100; sequenceNo++) {
    for (const [writer, { journal }] of [app, other].entries()) recorded.push(journal.recordEvent(messageId, sequenceNo, 'answer', { writer, sequenceNo }))
    if (sequenceNo % 10 === 0) await Promise.all(recorded)
  }

  t.ok((await Promise.all(recorded)).every(Boolean))
  const rows = await database.rows(messageId)
  t.strictSame(rows.map((row) => row.sequence_no), Array.from({ length: 200 }, (_, n) => n))
  t.equal(new Set(rows.map(({ payload }) => payload)).size, 200)
  await topics.until(200)
  const published = topics.envelopes.map(({ sequence_no: sequenceNo, payload }) => [sequenceNo, JSON.stringify(payload)])
  t.strictSame(new Map(published.map(([sequenceNo, payload]) => [sequenceNo, payload])), new Map(rows.map((row) => [row.sequence_no, row.payload])))
})
