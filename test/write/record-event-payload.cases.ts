import { test } from 'tap'
import { startApp } from '../helper/app.js'
import { linesAbout, listen, observe, takeClock } from '../helper/writing.js'

class Token { text = 'a' }

const notPlain: Array<[what: string, payload: unknown]> = [
  ['null', null],
  ['a string', 'text'],
  ['a number', 1],
  ['a BigInt', 1n],
  ['a symbol', Symbol('a')],
  ['a function', () => {}],
  ['an array', [1]],
  ['a Date', new Date()],
  ['a Map', new Map([['a', 1]])],
  ['an Error', new Error('a')],
  ['an instance of a class', new Token()],
  ['an object that turns into text', { toJSON: () => 'text' }],
  ['an object that turns into nothing', { toJSON: () => undefined }]
]

test('a payload that is no plain object is recorded as {}, with a warning', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const elapse = takeClock(t)

  for (const [what, payload] of notPlain) {
    await t.test(what, async (t) => {
      const messageId = await database.addMessage()
      const topics = await listen(t, app, messageId)
      elapse(1_000)
      const before = lines.length

      t.equal(await app.journal.recordEvent(messageId, 3, 'answer', payload), true)

      t.strictSame(await database.rows(messageId), [{ sequence_no: 3, event_type: 'answer', payload: '{}' }])
      await topics.until(1)
      t.strictSame(topics.envelopes[0]?.payload, {})
      t.equal(lines.length - before, 1)
      t.match(lines.at(-1), { level: 40, messageId, sequenceNo: 3, eventType: 'answer', msg: /not a plain object/ })
    })
  }
})

const cycle: Record<string, unknown> = { list: [] }
cycle['self'] = { cycle }

const unfit: Array<[what: string, payload: object]> = [
  ['a cycle', cycle],
  ['a BigInt', { deep: [{ n: 1n }] }],
  ['a toJSON that throws', { toJSON () { throw new Error('refused by the test') } }],
  ['a getter that throws', { get answer () { throw new Error('refused by the test') } }],
  ['a getter that throws what cannot be looked at', { get answer () { throw Object.defineProperty({}, 'message', { get () { throw new Error('again') } }) } }],
  ['a getter that throws nothing', { get answer () { throw undefined } }], // eslint-disable-line no-throw-literal -- apps do
  ['a proxy that throws', new Proxy({}, { getPrototypeOf () { throw new Error('refused by the test') } })],
  ['a nesting too deep to be written', nested(100_000)],
  ['one byte too many', { answer: 'é'.repeat(44) + 'x' }]
]

function nested (depth: number): object {
  let value = {}
  for (let level = 0; level < depth; level++) value = { value }
  return value
}

test('a payload that cannot be stored is false and one line in the log; nothing is written or published', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t, { maxPayloadBytes: 101 })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)
  const elapse = takeClock(t)

  for (const [what, payload] of unfit) {
    await t.test(what, async (t) => {
      elapse(1_000)
      const before = lines.length

      t.equal(await app.journal.recordEvent(messageId, 3, 'answer', payload), false)

      await topics.flushed()
      t.strictSame(topics.texts, [])
      t.strictSame(await database.rows(messageId), [])
      t.equal(lines.length - before, 1)
      t.match(lines.at(-1), { level: 50, messageId, sequenceNo: 3, eventType: 'answer', err: { message: /^the payload/, stack: String } })
    })
  }
})

test('a payload that is replaced does not keep the failure of the next one out of the log', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', null), true)
  t.equal(await app.journal.recordEvent(messageId, 1, 'answer', cycle), false)

  t.match(linesAbout(lines, 'an event was not recorded'), [{ level: 50, messageId, sequenceNo: 1 }])
})

test('a payload may have exactly maxPayloadBytes, counted as UTF-8', async (t) => {
  const { app, databaseUrl } = await startApp(t, { maxPayloadBytes: 101 })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const payload = { answer: 'é'.repeat(44) } // {"answer":""} are 13 bytes

  t.equal(Buffer.byteLength(JSON.stringify(payload)), 101)
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', payload), true)
})

test('1 MiB of text is recorded as it is', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)
  const text = 'größer als 1 Zeile\n'.repeat(60_000).slice(0, 1_000_000)
  const payload = { text: text.slice(0, 1_000_000 - (Buffer.byteLength(JSON.stringify({ text })) - 1_048_576)) }
  t.ok(Buffer.byteLength(JSON.stringify(payload)) > 1_048_576 * 0.9)
  t.ok(Buffer.byteLength(JSON.stringify(payload)) <= 1_048_576)

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', payload), true)

  t.ok((await database.rows(messageId))[0]?.payload === JSON.stringify(payload), 'the same text in the table')
  await topics.until(1)
  t.ok(topics.texts[0]?.endsWith(`"payload":${JSON.stringify(payload)},"committed":true}`), 'and on the topic')
})

test('U+0000 is stripped from strings and keys at any depth, and an escaped backslash before u0000 is not', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', { '\0k\0': ['a\0b', { 'deep\0': '\0' }], kept: '\\u0000', both: '\\\0\\\\u0000' }), true)

  const stored = '{"k":["ab",{"deep":""}],"kept":"\\\\u0000","both":"\\\\\\\\\\\\u0000"}'
  t.equal((await database.rows(messageId))[0]?.payload, stored)
  t.strictSame(await database.query('select payload #>> \'{k,0}\' as a, payload #>> \'{kept}\' as kept from message_events'), [{ a: 'ab', kept: '\\u0000' }],
    'Postgres can take it apart')
  await topics.until(1)
  t.ok(topics.texts[0]?.includes(`"payload":${stored},"committed":true}`))
})

test('half a surrogate pair is kept as its escape, byte for byte, and the reader joins the halves', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)
  const [high, low] = ['\ud83d', '\ude00']

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', { answer: `a${high}` }), true)
  t.equal(await app.journal.recordEvent(messageId, 1, 'answer', { answer: `${low}b`, [low]: '😀' }), true)

  t.strictSame((await database.rows(messageId)).map(({ payload }) => payload), ['{"answer":"a\\ud83d"}', '{"answer":"\\ude00b","\\ude00":"😀"}'])
  await topics.until(2)
  t.equal(topics.envelopes.map(({ payload }) => payload['answer']).join(''), 'a😀b')
})

test('a key __proto__ is a key', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const text = '{"__proto__":{"admin":true},"constructor":1}'

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', JSON.parse(text)), true)

  t.equal((await database.rows(messageId))[0]?.payload, text)
  t.notOk(Reflect.get({}, 'admin'))
})

test('a payload is taken as it is at the call', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const payload = { answer: 'then' }

  const recorded = app.journal.recordEvent(messageId, 0, 'answer', payload)
  payload.answer = 'later'

  t.equal(await recorded, true)
  t.equal((await database.rows(messageId))[0]?.payload, '{"answer":"then"}')
})
