import { test } from 'tap'
import { startApp } from '../helper/app.js'
import { countStatements, linesAbout, listen, observe, takeClock } from '../helper/writing.js'

const UNKNOWN = '0198c0de-7a1e-7c3b-9d6e-0a4c9a1f0001'

const wrong: Array<[why: string, reason: string, arguments_: unknown[]]> = [
  ['an empty messageId', 'messageId is empty', ['', 0, 'answer', {}]],
  ['no messageId', 'messageId is empty', []],
  ['a messageId of null', 'messageId is empty', [null, 0, 'answer']],
  ['a messageId that is no UUID', 'messageId is not a UUID', ['42', 0, 'answer']],
  ['a messageId that is no string', 'messageId is not a UUID', [42n, 0, 'answer']],
  ['a messageId that is an object which cannot be shown', 'messageId is not a UUID', [{ toJSON () { throw new Error('no') } }, 0, 'answer']],
  ['an empty eventType', 'eventType is empty', [UNKNOWN, 0, '', {}]],
  ['no eventType', 'eventType is empty', [UNKNOWN, 0]],
  ['an eventType of nothing but U+0000', 'eventType is empty', [UNKNOWN, 0, '\0\0']],
  ['an eventType that is no string', 'eventType is empty', [UNKNOWN, 0, Symbol('answer')]],
  ['a negative number', 'sequenceNo is not a whole number from 0 to 2000000000', [UNKNOWN, -1, 'answer']],
  ['a broken number', 'sequenceNo is not a whole number from 0 to 2000000000', [UNKNOWN, 0.5, 'answer']],
  ['a number of NaN', 'sequenceNo is not a whole number from 0 to 2000000000', [UNKNOWN, Number.NaN, 'answer']],
  ['a number that Postgres cannot hold', 'sequenceNo is not a whole number from 0 to 2000000000', [UNKNOWN, 2 ** 31, 'answer']],
  ['a number that is text', 'sequenceNo is not a whole number from 0 to 2000000000', [UNKNOWN, '0', 'answer']]
]

test('wrong arguments are one warning and false, and touch nothing', async (t) => {
  const { app, lines } = await startApp(t)
  const topics = await listen(t, app, UNKNOWN)
  const elapse = takeClock(t)
  const appends = countStatements(app, /append/)

  for (const [why, reason, arguments_] of wrong) {
    await t.test(why, async (t) => {
      elapse(1_000)
      const before = lines.length

      const recorded: boolean = await Reflect.apply(app.journal.recordEvent, undefined, arguments_)

      t.equal(recorded, false)
      await topics.flushed()
      t.strictSame(topics.texts, [])
      t.equal(appends(), 0, 'Postgres was not asked to')
      t.equal(lines.length - before, 1)
      t.match(lines.at(-1), { level: 40, reason, msg: 'journal: an event was not recorded: its arguments are wrong' })
    })
  }
})

test('the largest number that an app may give leaves room for what follows', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })

  t.equal(await app.journal.recordEvent(message.messageId, 2_000_000_001, 'answer', {}), false)
  t.equal(await app.journal.recordEvent(message.messageId, 2_000_000_000, 'answer', {}), true)
  t.equal(await message.end(), true)

  t.strictSame((await database.rows(message.messageId)).map(({ sequence_no: no, event_type: type }) => [no, type]), [[2_000_000_000, 'answer'], [2_000_000_001, 'end']])
})

test('U+0000 is taken out of an event type', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()

  t.equal(await app.journal.recordEvent(messageId, 0, '\0ans\0wer\0', {}), true)

  t.equal((await database.rows(messageId))[0]?.event_type, 'answer')
})

test('half a surrogate pair in an event type is published as it is stored, and its retry is found', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)

  t.equal(await app.journal.recordEvent(messageId, 0, 'a\ud83d', {}), true)
  t.equal(await app.journal.recordEvent(messageId, 0, 'a\ud83d', {}), true)

  const [row, ...more] = await database.rows(messageId)
  t.strictSame(more, [])
  await topics.flushed()
  t.strictSame(topics.envelopes.map((envelope) => envelope.event_type), [row?.event_type])
})

test('wrong arguments a thousand times over are not a thousand lines', async (t) => {
  const { app, lines } = await startApp(t)

  const recorded = await Promise.all(Array.from({ length: 1_000 }, () => app.journal.recordEvent('', 0, 'answer', {})))

  t.ok(recorded.every((result) => !result))
  const written = linesAbout(lines, 'its arguments are wrong')
  t.ok(written.length > 0 && written.length < 10, `${written.length} lines`)
})
