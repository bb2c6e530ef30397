import fc from 'fast-check'
import t, { type Test } from 'tap'
import { startApp } from '../helper/app.js'
import { addMessage } from '../helper/journal.js'
import { connect, frames, type Connection } from '../helper/sse.js'

const plain = await startApp(t)
const named = await startApp(t, { databaseUrl: plain.databaseUrl, eventNames: true })
const { app } = plain

async function createMessage (): Promise<string> {
  return await addMessage(app)
}

async function read (t: Test, messageId: string, { url } = plain): Promise<Connection> {
  return await connect(t, `${url}/api/messages/${messageId}/events`)
}

/** Payloads with everything that JSON, SSE and JavaScript have opinions about. */
const payloads: object[] = [
  {},
  { type: 'answer', answer: 'line\nline\r\nline\rline' },
  { 'data: x\n\nid: 9': 'data: id: 7\n\nevent: x' },
  { text: '\u2028\u2029\u0085\ufeff\u200b"\\/\b\f\t</script>' },
  { half: '\ud83d', other: '\ude00', whole: '😀' },
  { numbers: [0, -0, 1e21, 1e-7, 0.1 + 0.2, Number.MAX_VALUE, Number.MIN_VALUE, NaN, 2 ** 53] },
  { __proto__: null, constructor: 1, toJSON: 'text', '': { '': '' } },
  { deep: [[[[[[[{ a: [null, true, false] }]]]]]]] },
  { long: 'ü'.repeat(40_000) }
]

/** Records the events for live readers and resolves with what each of them got and what is replayed. */
async function recordAndReplay (t: Test, events: Array<[string, object]>) {
  const messageId = await createMessage()
  const live = [await read(t, messageId), await read(t, messageId, named)]
  await app.journal.recordEvent(messageId, 0, 'first')
  await Promise.all(live.map((reader) => reader.until(({ events }) => events.length === 1)))
  let next = 1
  for (const [eventType, payload] of events) await app.journal.recordEvent(messageId, next++, eventType, payload)
  await app.journal.recordEvent(messageId, next, 'end')
  const replayed = [await read(t, messageId), await read(t, messageId, named)]
  await Promise.all([...live, ...replayed].map(({ ended }) => ended))
  for (const i of [0, 1]) t.equal(frames(live[i]?.raw ?? ''), frames(replayed[i]?.raw ?? ''), 'live and replayed bytes')
  return live
}

t.test('a live frame and its replay are the same bytes, whatever the payload holds', async (t) => {
  const [reader] = await recordAndReplay(t, payloads.map((payload) => ['answer', payload]))
  t.same(reader?.events.slice(1, -1).map(({ data }) => data), payloads.map((payload) => JSON.stringify(payload)))
})

t.test('a live frame and its replay are the same bytes for hundreds of random payloads and names', async (t) => {
  const events = fc.sample(fc.tuple(
    fc.string({ unit: 'binary', minLength: 1, maxLength: 8 }).filter((name) => name.replaceAll('\0', '') !== '' && name !== 'end' && name !== 'error'),
    fc.dictionary(fc.string({ unit: 'grapheme' }).filter((key) => key !== 'type'), fc.jsonValue({ maxDepth: 2 }))
  ), 300)
  await recordAndReplay(t, events)
})

t.test('event names are on the wire only with eventNames: true', async (t) => {
  const [without, withNames] = await recordAndReplay(t, [['answer', { a: 1 }], ['tool call', {}]])
  t.same(without?.events.map(({ event }) => event), [undefined, undefined, undefined, undefined])
  t.same(withNames?.events.map(({ event }) => event), ['first', 'answer', 'tool call', 'end'])
  t.match(withNames?.raw, 'event: answer\ndata: {"a":1}\nid: 1\n\n')
})

t.test('an event type with CR, LF or NUL forges nothing, live and replayed', async (t) => {
  const [without, withNames] = await recordAndReplay(t, [
    ['a\nid: 99\n\ndata: forged', { n: 1 }], ['a\r\n\r\ndata: forged', { n: 2 }], ['a\rretry: 1', { n: 3 }], ['a\0b', { n: 4 }]
  ])
  t.same(without?.events.map(({ id }) => id), ['0', '1', '2', '3', '4', '5'])
  t.same(withNames?.events.map(({ id, event }) => [id, event]), [['0', 'first'], ['1', undefined], ['2', undefined], ['3', undefined], ['4', 'ab'], ['5', 'end']])
  t.same(withNames?.events.slice(1, 5).map(({ data }) => JSON.parse(data).n), [1, 2, 3, 4])
  t.equal(withNames?.retries.length, 1)
  t.notMatch(withNames?.raw, 'forged')
})

t.test('an event type that is longer than a page is replayed all the same', async (t) => {
  const [, withNames] = await recordAndReplay(t, [['long'.repeat(150_000), { n: 1 }], ['short', { n: 2 }]])
  t.same(withNames?.events.map(({ id, event }) => [id, event?.length]), [['0', 5], ['1', 600_000], ['2', 5], ['3', 3]])
})

t.test('rows that other programs wrote, pretty-printed and with any line breaks, replay as valid SSE', async (t) => {
  const messageId = await createMessage()
  const texts = ['{\r\n  "a": 1,\r\n  "b": "x"\r\n}', '{\r"a"\r:\r[\r]\r}', '\n\n{ "a" : {\n\n} }\n', '{"big":9007199254740993,"zero":-0.0,"exp":1E+21}', '{"a":1,"a":2}', '[1]', 'null', '"text"', '{"nul":"\\u0000"}']
  for (const [sequenceNo, text] of texts.entries()) {
    await app.pg.query('insert into message_events (message_id, sequence_no, event_type, payload) values ($1, $2, $3, $4)', [messageId, sequenceNo, 'answer', text])
  }
  await app.journal.recordEvent(messageId, texts.length, 'end')
  const reader = await read(t, messageId)
  await reader.ended
  t.same(reader.events.map(({ id }) => id), [...texts.keys(), texts.length].map(String))
  t.same(reader.events.slice(0, -1).map(({ data }) => data), texts.map((text) => text.replaceAll(/\r\n|\r/g, '\n')))
  t.match(reader.raw, 'data: {\ndata:   "a": 1,\ndata:   "b": "x"\ndata: }\nid: 0\n\n')
})
