import t, { type Test } from 'tap'
import { encodeEnvelope } from '../../plugin/wire/envelope.js'
import { messageTopic } from '../../plugin/wire/names.js'
import { startApp } from '../helper/app.js'
import { addMessage } from '../helper/journal.js'
import { connect, ids, type Connection } from '../helper/sse.js'

const { app, url } = await startApp(t, { terminalTypes: ['end', 'error', 'done'] })

async function createMessage (): Promise<string> {
  return await addMessage(app)
}

async function read (t: Test, messageId: string, cursor?: number): Promise<Connection> {
  return await connect(t, `${url}/api/messages/${messageId}/events`, cursor === undefined ? {} : { headers: { 'last-event-id': String(cursor) } })
}

/** Rows that nobody hears of: each is [event_type, payload]. */
async function insert (messageId: string, from: number, ...rows: Array<[string, object]>): Promise<void> {
  await app.pg.query(`insert into message_events (message_id, sequence_no, event_type, payload)
    select $1, $2::int - 1 + row_number() over (), value ->> 0, value -> 1 from json_array_elements($3::json)`, [messageId, from, JSON.stringify(rows)])
}

const TERMINAL: Array<[string, object]> = [
  ['end', {}],
  ['error', {}],
  ['done', {}],
  ['answer', { type: 'end' }],
  ['answer', { type: 'error', error: 'boom' }],
  ['answer', { type: 'done' }],
  ['end', { type: 'answer' }]
]

const NOT_TERMINAL: Array<[string, object]> = [
  ['ending', {}],
  ['END', {}],
  ['answer', { type: 'ended' }],
  ['answer', { answer: { type: 'end' } }],
  ['answer', { type: ['end'] }],
  ['answer', { end: true }]
]

for (const [eventType, payload] of TERMINAL) {
  t.test(`${eventType} ${JSON.stringify(payload)} ends a response, live and replayed`, async (t) => {
    const messageId = await createMessage()
    const live = await read(t, messageId)
    await app.journal.recordEvent(messageId, 0, 'answer')
    await live.until(({ events }) => events.length === 1)
    await app.journal.recordEvent(messageId, 1, eventType, payload)
    await live.ended
    const replayed = await read(t, messageId)
    await replayed.ended
    t.same([ids(live), ids(replayed)], [['0', '1'], ['0', '1']])
  })
}

t.test('what only resembles a terminal event ends nothing', async (t) => {
  const messageId = await createMessage()
  const live = await read(t, messageId)
  let next = 0
  for (const [eventType, payload] of NOT_TERMINAL) {
    await app.journal.recordEvent(messageId, next++, eventType, payload)
    await live.until(({ events }) => events.length === next)
  }
  const replayed = await read(t, messageId)
  await replayed.until(({ events }) => events.length === next)
  await app.journal.recordEvent(messageId, next, 'end')
  await Promise.all([live.ended, replayed.ended])
  t.equal(replayed.events.length, NOT_TERMINAL.length + 1)
})

t.test('the response of an ended message is closed by the server, and its viewer is gone', async (t) => {
  const messageId = await createMessage()
  const reader = await read(t, messageId)
  await app.journal.recordEvent(messageId, 0, 'end')
  await reader.ended
  t.equal(app.journal.stats().viewers, 0)
  t.equal(app.journal.stats().topics, 0)
})

t.test('an `end` with events after it is replayed like any other event', async (t) => {
  const messageId = await createMessage()
  await insert(messageId, 0, ['answer', {}], ['end', {}], ['answer', {}], ['error', {}], ['answer', {}], ['end', {}])
  for (const cursor of [undefined, 0, 1, 2, 3, 4]) {
    const reader = await read(t, messageId, cursor)
    await reader.ended
    t.same(ids(reader), ['0', '1', '2', '3', '4', '5'].slice((cursor ?? -1) + 1), `from ${cursor}`)
  }
})

t.test('an `end` that arrives live with events behind it in the journal is no end', async (t) => {
  const messageId = await createMessage()
  const reader = await read(t, messageId)
  await app.journal.recordEvent(messageId, 0, 'answer')
  await reader.until(({ events }) => events.length === 1)
  await insert(messageId, 1, ['end', {}], ['answer', {}], ['answer', {}])
  await app.redis.publish(messageTopic(messageId), encodeEnvelope({ messageId, sequenceNo: 1, eventType: 'end', payload: '{}', committed: true }))
  await reader.until(({ events }) => events.length === 4)
  await app.journal.recordEvent(messageId, 4, 'end')
  await reader.ended
  t.same(ids(reader), ['0', '1', '2', '3', '4'])
})

t.test('an `end` and what follows it, announced in one go, arrive together', async (t) => {
  const messageId = await createMessage()
  const reader = await read(t, messageId)
  await app.journal.recordEvent(messageId, 0, 'answer')
  await reader.until(({ events }) => events.length === 1)
  await Promise.all([
    app.journal.recordEvent(messageId, 1, 'end'), app.journal.recordEvent(messageId, 2, 'answer'), app.journal.recordEvent(messageId, 3, 'end')
  ])
  await reader.ended
  t.same(ids(reader), ['0', '1', '2', '3'])
})

t.test('a reader whose cursor is an `end` waits while the message has a lease and is streaming, and gets what follows', async (t) => {
  const message = await app.journal.openMessage({ userId: 'ada' })
  await message.record('end')
  const reader = await read(t, message.messageId, 0)
  t.equal(reader.status, 200)
  await message.record('answer')
  await reader.until(({ events }) => events.length === 1)
  await message.end()
  await reader.ended
  t.same(ids(reader), ['1', '2'])
})

t.test('a message that was reopened after its end is streamed on', async (t) => {
  const first = await app.journal.openMessage({ userId: 'ada' })
  await first.record('answer', {})
  await first.end()
  t.equal((await read(t, first.messageId, 1)).status, 204)
  const second = await app.journal.openMessage({ userId: 'ada', messageId: first.messageId })
  const reader = await read(t, first.messageId, 1)
  await second.record('answer', {})
  await second.end()
  await reader.ended
  t.same(ids(reader), ['2', '3'])
})

t.test('an `end` whose row did not commit is shown and ends nothing', async (t) => {
  const messageId = await createMessage()
  const reader = await read(t, messageId)
  await app.journal.recordEvent(messageId, 0, 'answer')
  await reader.until(({ events }) => events.length === 1)
  await app.redis.publish(messageTopic(messageId), encodeEnvelope({ messageId, sequenceNo: 1, eventType: 'end', payload: '{}', committed: false }))
  await reader.until(({ events }) => events.length === 2)
  await app.journal.recordEvent(messageId, 1, 'answer')
  await app.journal.recordEvent(messageId, 2, 'end')
  await reader.ended
  t.same(ids(reader), ['0', undefined, '1', '2'])
})

t.test('an `end` that is the last row of a page ends the response when no page follows, and only then', async (t) => {
  const messageId = await createMessage()
  await app.pg.query(`insert into message_events (message_id, sequence_no, event_type)
    select $1, n, case when n in (999, 1999) then 'end' else 'answer' end from generate_series(0, 1999) n`, [messageId])
  const reader = await read(t, messageId)
  await reader.ended
  t.same(ids(reader), Array.from({ length: 2_000 }, (_, i) => String(i)))
})
