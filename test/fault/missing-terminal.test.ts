import t, { type Test } from 'tap'
import { startApp } from '../helper/app.js'
import { ask, eventsOf, has, insertEvents, makeMessage, statusOf, upTo } from '../helper/journal.js'
import { connect, ids } from '../helper/sse.js'
import { beforeStatements } from '../helper/writing.js'

/** Two apps on one database, each with a reader of the message. */
async function startReading (t: Test, status = 'streaming') {
  const one = await startApp(t, { reconcileMs: 100 })
  const { databaseUrl } = one
  const two = await startApp(t, { databaseUrl, migrate: false, reconcileMs: 100 })
  const messageId = await makeMessage(databaseUrl, { status })
  const paths = [one, two].map(({ url }) => `${url}/api/messages/${messageId}/events`)
  const openReaders = async () => await Promise.all(paths.map(async (path) => await connect(t, path)))
  return { one, two, databaseUrl, messageId, openReaders }
}

const TERMINALS = {
  complete: { type: 'end' },
  failed: { type: 'error', error: 'The answer could not be completed.', code: 'producer_failed' },
  stopped: { type: 'end', reason: 'stopped' }
}

for (const [status, terminal] of Object.entries(TERMINALS)) {
  t.test(`a row says ${status} and its terminal event is missing: the missed rows are read first, then it is journaled, once`, async (t) => {
    const { databaseUrl, messageId, openReaders } = await startReading(t)
    const readers = await openReaders()
    await insertEvents(databaseUrl, messageId, { count: 3 })
    for (const reader of readers) await reader.until(has(3))
    // Rows that nobody was told of, and the status with them, as a writer that dies before its terminal leaves it.
    await ask(databaseUrl, `
      with missed as (
        insert into message_events (message_id, sequence_no, event_type, payload) values ($1, 3, 'answer', '{"missed":true}')
      )
      update messages set status = $2 where message_id = $1`, [messageId, status])
    for (const reader of readers) {
      await reader.ended
      t.same(ids(reader), upTo(5))
      t.same(reader.events.slice(3).map(({ data }) => JSON.parse(data)), [{ missed: true }, terminal])
    }
    t.same((await eventsOf(databaseUrl, messageId)).slice(4).map(({ payload }) => payload), [terminal])
    t.equal(await statusOf(databaseUrl, messageId), status)
  })
}

t.test('the missing terminal is written elsewhere just when it is found to be missing: the reader gets it', async (t) => {
  const { databaseUrl, messageId, one } = await startReading(t)
  await insertEvents(databaseUrl, messageId, { count: 3 })
  const reader = await connect(t, `${one.url}/api/messages/${messageId}/events`)
  await reader.until(has(3))
  beforeStatements(one.app, /findMessage/, async () => {
    await ask(databaseUrl, 'insert into message_events (message_id, sequence_no, event_type, payload) values ($1, 3, \'end\', \'{"type":"end"}\') on conflict do nothing', [messageId])
  })
  await ask(databaseUrl, 'update messages set status = \'complete\' where message_id = $1', [messageId])
  await reader.ended
  t.same(ids(reader), upTo(4))
})

t.test('a finished message without any event gets its terminal when somebody reads it', async (t) => {
  const { databaseUrl, messageId, openReaders } = await startReading(t, 'complete')
  await ask(databaseUrl, 'update messages set status = \'streaming\' where message_id = $1', [messageId])
  const readers = await openReaders()
  await ask(databaseUrl, 'update messages set status = \'complete\' where message_id = $1', [messageId])
  for (const reader of readers) {
    await reader.ended
    t.same(ids(reader), ['0'])
  }
  t.equal((await eventsOf(databaseUrl, messageId)).length, 1)
})

t.test('the message is deleted under its readers: message_missing without an id, and the end', async (t) => {
  const { databaseUrl, messageId, openReaders } = await startReading(t)
  const readers = await openReaders()
  await insertEvents(databaseUrl, messageId, { count: 2 })
  for (const reader of readers) await reader.until(has(2))
  await ask(databaseUrl, 'delete from messages where message_id = $1', [messageId])
  for (const reader of readers) {
    await reader.ended
    t.equal(reader.events.length, 3)
    t.same(JSON.parse(reader.events[2]?.data ?? ''), { type: 'error', error: 'The message does not exist any more.', code: 'message_missing' })
    t.match(reader.raw, /data: \{[^\n]*message_missing[^\n]*\}\n\n$/, 'no id line: the cursor stays')
  }
})

t.test('an end with events after it is not the end: a reader that has it waits while the message streams', async (t) => {
  const { one, databaseUrl, openReaders, messageId } = await startReading(t)
  await insertEvents(databaseUrl, messageId)
  t.equal(await one.app.journal.recordEvent(messageId, 1, 'end', { type: 'end' }), true)
  t.equal(await one.app.journal.recordEvent(messageId, 2, 'answer', { type: 'answer' }), true)
  const readers = await openReaders()
  for (const reader of readers) await reader.until(has(3))
  t.equal(await one.app.journal.recordEvent(messageId, 3, 'end', { type: 'end' }), true)
  for (const reader of readers) {
    await reader.ended
    t.same(ids(reader), upTo(4))
  }
})

t.test('of a message without a lease, a reader that has an end that nothing follows has everything', async (t) => {
  const { databaseUrl, messageId, one } = await startReading(t)
  const url = `${one.url}/api/messages/${messageId}/events`
  await ask(databaseUrl, 'insert into message_events (message_id, sequence_no, event_type) values ($1, 0, \'end\')', [messageId])
  t.equal((await fetch(url, { headers: { 'x-user': 'ada', 'last-event-id': '0' } })).status, 204)
  await insertEvents(databaseUrl, messageId, { first: 1 })
  const reader = await connect(t, url, { headers: { 'last-event-id': '0' } })
  await reader.until(has(1))
  await ask(databaseUrl, 'insert into message_events (message_id, sequence_no, event_type) values ($1, 2, \'error\')', [messageId])
  await reader.ended
  t.same(ids(reader), ['1', '2'])
  t.match(reader.raw, /: end failed\n\n$/)
})
