import { test } from 'tap'
import { openConnections, startApp } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'
import { linesAbout, listen, observe } from '../helper/writing.js'

test('end is a durable terminal event and the status complete', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const topics = await listen(t, app, message.messageId)
  await message.record('answer', {})

  t.equal(await message.end({ tokens: 3 }), true)

  t.strictSame((await database.rows(message.messageId)).at(-1), { sequence_no: 1, event_type: 'end', payload: '{"type":"end","tokens":3}' })
  t.match(await database.message(message.messageId), { status: 'complete', error: null })
  await topics.until(2)
  t.match(topics.envelopes[1], { sequence_no: 1, event_type: 'end', payload: { type: 'end', tokens: 3 } })
  t.equal(app.journal.stats().producers, 0)
  t.equal(message.signal.aborted, false)
})

test('the terminal event and the status are one transaction', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const [ended, failed] = await Promise.all([app.journal.openMessage({}), app.journal.openMessage({})])
  await Promise.all([ended.end(), failed.fail(new Error('no'))])
  t.strictSame(await database.query('select m.xmin = e.xmin as same from messages m join message_events e using (message_id)'), [{ same: true }, { same: true }])

  const open = await app.journal.openMessage({})
  await database.query(`
    create function refuse () returns trigger language plpgsql as $$ begin raise exception 'refused by the test'; end $$;
    create trigger refuse before update of status on messages for each row execute function refuse()`)
  t.equal(await open.end(), false)
  t.strictSame(await database.rows(open.messageId), [], 'no event without its status')
})

test('events in flight are committed before the end, and after it record is false', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })

  const recorded = [message.record('answer', { n: 0 }), message.record('answer', { n: 1 }), message.end(), message.record('answer', { n: 2 })]

  t.strictSame(await Promise.all(recorded), [true, true, true, false])
  t.equal(await message.record('answer', { n: 3 }), false)
  t.strictSame((await database.rows(message.messageId)).map((row) => row.event_type), ['answer', 'answer', 'end'])
  t.match(linesAbout(lines, 'an event was not recorded')[0], { level: 40, messageId: message.messageId, eventType: 'answer', reason: 'the message has ended' })
})

test('a message ends once', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })

  t.strictSame(await Promise.all([message.end(), message.end(), message.fail(new Error('no'))]), [true, false, false])

  t.equal((await database.rows(message.messageId)).length, 1)
  t.match(await database.message(message.messageId), { status: 'complete', error: null })
})

test('fail is a durable terminal event and the status failed; readers see a text without the error', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const topics = await listen(t, app, message.messageId)

  t.equal(await message.fail(new Error('password is hunter2')), true)

  const payload = '{"type":"error","error":"The answer could not be completed.","code":"producer_failed"}'
  t.strictSame(await database.rows(message.messageId), [{ sequence_no: 0, event_type: 'error', payload }])
  t.match(await database.message(message.messageId), { status: 'failed', error: 'password is hunter2' })
  await topics.until(1)
  t.notMatch(topics.texts[0], /hunter2|at .*:\d+/, 'neither its message nor its stack')
})

test('publicError chooses what readers see', async (t) => {
  const error = new Error('too many tokens')
  const { app, databaseUrl } = await startApp(t, {
    publicError (thrown, message) {
      t.equal(thrown, error)
      return `${message.userId}: sorry`
    }
  })
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })

  t.equal(await message.fail(error), true)

  t.strictSame((await database.rows(message.messageId)).map((row) => JSON.parse(row.payload)), [{ type: 'error', error: 'ada: sorry', code: 'producer_failed' }])
})

test('a publicError that throws does not cost the reader the terminal event', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t, { publicError () { throw new Error('broken') } })
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })

  t.equal(await message.fail(new Error('no')), true)

  t.match((await database.rows(message.messageId)).map((row) => JSON.parse(row.payload)), [{ error: 'The answer could not be completed.' }])
  t.match(linesAbout(lines, 'publicError gave no text'), [{ level: 50, messageId: message.messageId, err: { message: 'broken' } }])
})

for (const [what, answer] of [['nothing', undefined], ['a BigInt', 1n], ['a promise', Promise.resolve('later')], ['more than maxPayloadBytes', 'a'.repeat(2_000)]] as const) {
  test(`a publicError that answers with ${what} does not cost the reader the terminal event`, async (t) => {
    const options = { maxPayloadBytes: 1_000 }
    Reflect.set(options, 'publicError', () => answer) // as an app without types may have it
    const { app, databaseUrl } = await startApp(t, options)
    const database = await observe(t, databaseUrl)
    const message = await app.journal.openMessage({ userId: 'ada' })

    t.equal(await message.fail(new Error('no')), true)

    t.match((await database.rows(message.messageId)).map((row) => JSON.parse(row.payload)), [{ error: 'The answer could not be completed.' }])
  })
}

const thrown: Array<[what: string, error: unknown, shown: string | RegExp]> = [
  ['a string', 'just text', 'just text'],
  ['undefined', undefined, 'undefined'],
  ['a symbol', Symbol('a'), 'Symbol(a)'],
  ['an error with U+0000 in its message', new Error('a\0b'), 'ab'],
  ['an object without a prototype', Object.create(null), /./],
  ['an object that cannot be shown', { toString () { throw new Error('no') } }, /./],
  ['an error whose message cannot be read', Object.defineProperty(new Error('a'), 'message', { get () { throw new Error('no') } }), /./],
  ['an error whose message is no string', Object.assign(new Error('a'), { message: 1 }), /1/]
]

test('whatever was thrown, fail does not reject and is durable', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)

  for (const [what, error, shown] of thrown) {
    await t.test(what, async (t) => {
      const message = await app.journal.openMessage({ userId: 'ada' })

      t.equal(await message.fail(error), true)

      t.equal((await database.rows(message.messageId)).length, 1)
      t.match(await database.message(message.messageId), { status: 'failed', error: shown })
    })
  }
})

test('a payload of end that cannot be stored does not cost the reader the end', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })

  const ended = await message.end({ n: 1n })
  if (!ended) t.equal(await message.end(), true, 'it can be ended again, without')

  t.match(await database.message(message.messageId), { status: 'complete' })
})

test('a type in the payload of end does not make it another event', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })

  t.equal(await message.end({ type: 'usage', tokens: 3 }), true)

  t.strictSame(await database.rows(message.messageId), [{ sequence_no: 0, event_type: 'end', payload: '{"type":"end","tokens":3}' }])
})

const REVOKED = Proxy.revocable({}, {})
REVOKED.revoke()
for (const [what, payload, level] of [
  ['a string', 'done', 40],
  ['an array', [1], 40],
  ['a Date', new Date(), 40],
  ['null', null, 40],
  ['an object with a getter that throws', { get tokens () { throw new Error('no') } }, 50],
  ['a revoked Proxy', REVOKED.proxy, 50]
] as const) {
  test(`end ends the message, with ${what} in place of a payload too`, async (t) => {
    const { app, databaseUrl, lines } = await startApp(t)
    const database = await observe(t, databaseUrl)
    const message = await app.journal.openMessage({ userId: 'ada' })

    t.equal(await message.end(payload as never), true) // as a caller without types may

    t.strictSame(await database.rows(message.messageId), [{ sequence_no: 0, event_type: 'end', payload: '{"type":"end"}' }])
    t.match(linesAbout(lines, 'was recorded in its place'), [{ level, messageId: message.messageId, eventType: 'end' }])
  })
}

test('with the database away, end is false and does not throw', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, databaseUrl)
  const { app } = await startApp(t, { databaseUrl: proxy.url, writeRetryMs: 500, maxDoubtMs: 500 })
  await openConnections(app)
  const [ended, failed] = await Promise.all([app.journal.openMessage({}), app.journal.openMessage({})])
  proxy.refuse()

  t.strictSame(await Promise.all([ended.end(), failed.fail(new Error('no'))]), [false, false])
})

test('the methods of a message need no `this`', async (t) => {
  const { app } = await startApp(t)
  const { record, end } = await app.journal.openMessage({ userId: 'ada' })

  t.equal(await record('answer', {}), true)
  t.equal(await end(), true)
})
