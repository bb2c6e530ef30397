import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { encodeEnvelope } from '../../plugin/wire/envelope.js'
import { messageTopic } from '../../plugin/wire/names.js'
import { startApp } from '../helper/app.js'
import { addMessage } from '../helper/journal.js'
import { connect, ids, type Connection } from '../helper/sse.js'
import { beforeStatements } from '../helper/writing.js'

/** Who has been told wrongly that nothing follows is not saved by the reconciliation here. */
const { app, url } = await startApp(t, { reconcileMs: 1_000_000 })

/** A message with rows from 0 on: each as many bytes as said, of a kind that Postgres cannot compress. */
async function createMessage (rows: number, bytes: number): Promise<string> {
  const messageId = await addMessage(app)
  await app.pg.query(`insert into message_events (message_id, sequence_no, event_type, payload)
    select $1, n, 'answer', json_build_object('answer', (
      select string_agg(md5(n::text || i), '') from generate_series(1, $3::int / 32) i
    )) from generate_series(0, $2::int - 1) n`, [messageId, rows, bytes])
  return messageId
}

async function read (t: Test, messageId: string, cursor?: number): Promise<Connection> {
  return await connect(t, `${url}/api/messages/${messageId}/events`, cursor === undefined ? {} : { headers: { 'last-event-id': String(cursor) } })
}

function range (from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, i) => String(from + i))
}

for (const [rows, bytes] of [[1, 32], [511, 32], [512, 32], [513, 32], [5_000, 64], [1_000, 1_900], [40, 32_000], [10, 250_000], [3, 2_000_000]] as const) {
  t.test(`${rows} rows of ${bytes} bytes are replayed whole, from the start and from the middle`, async (t) => {
    const messageId = await createMessage(rows, bytes)
    await app.journal.recordEvent(messageId, rows, 'end')
    const middle = Math.floor(rows / 2)
    const readers = [await read(t, messageId), await read(t, messageId, middle - 1 < 0 ? undefined : middle - 1)]
    await Promise.all(readers.map(({ ended }) => ended))
    t.same(readers.map(ids), [range(0, rows + 1), range(middle, rows + 1)])
    t.ok(readers[0]?.events.slice(0, -1).every(({ data }) => data.length >= bytes - 32), 'no payload is cut')
  })
}

t.test('rows whose sizes change from one to the next are replayed whole, those of other programs with their line breaks', async (t) => {
  const messageId = await addMessage(app)
  const texts = Array.from({ length: 2_000 }, (_, n) => {
    const text = 'x'.repeat(n % 400 === 399 ? 40_000 : n % 100 > 50 ? 1_800 : n % 7)
    return n % 400 === 398 ? `{\n"a":\n"${text}"\n}` : `{"a":"${text}"}`
  })
  await app.pg.query(`insert into message_events (message_id, sequence_no, event_type, payload)
    select $1, n - 1, 'answer', payload from unnest($2::json[]) with ordinality as rows (payload, n)`, [messageId, texts])
  await app.journal.recordEvent(messageId, texts.length, 'end')
  const reader = await read(t, messageId)
  await reader.ended
  t.same(ids(reader), range(0, texts.length + 1))
  t.strictSame(reader.events.slice(0, -1).map(({ data }) => data), texts)
})

t.test('rows that become larger within a page are replayed whole', async (t) => {
  const messageId = await addMessage(app)
  await app.pg.query(`insert into message_events (message_id, sequence_no, event_type, payload)
    select $1, n, 'answer', to_json(repeat('x', case when n < 1500 then 1 else 1800 end)) from generate_series(0, 2999) n`, [messageId])
  await app.journal.recordEvent(messageId, 3_000, 'end')
  const reader = await read(t, messageId)
  await reader.ended
  t.same(ids(reader), range(0, 3_001))
})

t.test('the end of a page that was cut to its size is not taken for the end of the journal', async (t) => {
  const messageId = await addMessage(app)
  await app.pg.query(`insert into message_events (message_id, sequence_no, event_type, payload)
    select $1, n, 'answer', json_build_object('answer', repeat('x', case when n < 520 then 1 else 1800 end)) from generate_series(0, 1019) n`, [messageId])
  const reader = await read(t, messageId) // nothing comes that would show it what it does not have
  await reader.until(({ events }) => events.length === 1_020)
  t.same(ids(reader), range(0, 1_020))
})

t.test('rows that are deleted while they are read are passed over', async (t) => {
  const started = await startApp(t, { reconcileMs: 1_000_000 })
  const messageId = await addMessage(started.app)
  const clearer = await started.app.pg.connect()
  t.teardown(() => { clearer.release() })
  const large = { text: 'x'.repeat(3_000) } // read once with the others, and then by itself
  await started.app.journal.recordEvent(messageId, 0, 'answer', large)
  const deleted = new Promise<void>((resolve) => {
    beforeStatements(started.app, /readPage/, async () => {
      await clearer.query('delete from message_events where message_id = $1', [messageId])
      resolve()
    })
  })
  const reader = await connect(t, `${started.url}/api/messages/${messageId}/events`)
  const { pool } = started.app.pg
  await deleted
  while (pool.idleCount < pool.totalCount - 1) await turn() // until it has been read that there are none
  await started.app.journal.recordEvent(messageId, 1, 'end')
  await reader.ended
  t.same(ids(reader), ['1'])
})

t.test('events that are recorded during a long replay are neither lost nor doubled', async (t) => {
  const rows = 20_000
  const messageId = await createMessage(rows, 200)
  const reader = await read(t, messageId)
  // The replay is some megabytes, and the reader has not taken the first of them when the first event is recorded
  reader.response.pause()
  const recorded: Array<Promise<boolean>> = []
  for (let i = 0; i < 2_000; i++) {
    recorded.push(app.journal.recordEvent(messageId, rows + i, 'answer', { live: i }))
    if (i % 100 === 0) reader.response.resume()
  }
  t.notSame(await Promise.all(recorded), [])
  await app.journal.recordEvent(messageId, rows + 2_000, 'end')
  await reader.ended
  t.same(ids(reader), range(0, rows + 2_001))
})

t.test('many small gaps in a row are filled', async (t) => {
  const messageId = await addMessage(app)
  const reader = await read(t, messageId)
  await app.journal.recordEvent(messageId, 0, 'answer')
  await reader.until(({ events }) => events.length === 1)
  for (let i = 1; i < 200; i++) {
    await app.pg.query('insert into message_events (message_id, sequence_no, event_type) values ($1, $2, \'answer\')', [messageId, i])
    if (i % 3 !== 0) continue
    const envelope = encodeEnvelope({ messageId, sequenceNo: i, eventType: 'answer', payload: '{}', committed: true })
    app.redis.publish(messageTopic(messageId), envelope).catch((error: unknown) => { t.fail(String(error)) })
  }
  await app.journal.recordEvent(messageId, 200, 'end')
  await reader.ended
  t.same(ids(reader), range(0, 201))
})
