import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import { errors } from '../../plugin/index.js'
import { startApp } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'
import { linesAbout, listen, observe } from '../helper/writing.js'

test('a message is opened under a UUID of its own, and takes events from 0', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)

  const message = await app.journal.openMessage({ userId: 'ada' })

  t.match(message.messageId, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/)
  t.equal(message.userId, 'ada')
  t.equal(message.signal.aborted, false)
  t.strictSame(await database.query('select user_id, status, epoch > 0 and heartbeat_at is not null as leased from messages'),
    [{ user_id: 'ada', status: 'streaming', leased: true }])
  const topics = await listen(t, app, message.messageId)
  t.equal(await message.record('answer', { answer: 'a' }), true)
  t.equal(await message.record('tool'), true)
  t.strictSame(await database.rows(message.messageId), [
    { sequence_no: 0, event_type: 'answer', payload: '{"answer":"a"}' },
    { sequence_no: 1, event_type: 'tool', payload: '{}' }
  ])
  await topics.until(2)
  t.strictSame(topics.envelopes.map((envelope) => envelope.sequence_no), [0, 1])
})

test('a message is opened under the UUID that the client chose, in its canonical form', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = randomUUID()

  const message = await app.journal.openMessage({ userId: 'ada', messageId: messageId.toUpperCase() })

  t.equal(message.messageId, messageId)
  t.match(await database.message(messageId), { status: 'streaming' })
})

test('a user may be a number, a BigInt or nobody', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)

  const messages = await Promise.all([{ userId: 7 }, { userId: 2n ** 60n }, { userId: null }, {}].map((options) => app.journal.openMessage(options)))

  t.strictSame(messages.map(({ userId }) => userId), ['7', '1152921504606846976', null, null])
  t.strictSame(await database.query('select user_id from messages order by user_id'), [{ user_id: '1152921504606846976' }, { user_id: '7' }, { user_id: null }, { user_id: null }])
  const [, , nobodys] = messages
  t.resolves(app.journal.openMessage({ messageId: nobodys?.messageId ?? '' }), 'and what is nobody\'s is continued by nobody')
})

test('a message that exists is refused to whoever wants a new one, and stays as it is', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = randomUUID()

  const opened = await Promise.allSettled(Array.from({ length: 5 }, () => app.journal.openMessage({ userId: 'ada', messageId, ifExists: 'refuse' })))

  const [first, ...others] = opened.sort((a, b) => a.status < b.status ? -1 : 1)
  t.equal(first?.status, 'fulfilled')
  t.strictSame(others.map((other) => other.status === 'rejected' && other.reason), Array(4).fill(new errors.MessageExistsError(messageId)))
  t.match(others[0], { reason: { code: 'FST_JOURNAL_MESSAGE_EXISTS', statusCode: 409 } })
  t.match(await database.message(messageId), { status: 'streaming' })
  await t.rejects(app.journal.openMessage({ userId: 'bob', messageId, ifExists: 'refuse' }), new errors.NotOwnerError(messageId))
})

test('a message of another user is refused, and stays as it is', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  const before = await database.message(messageId)

  for (const userId of ['bob', null, 'Ada']) {
    await t.rejects(app.journal.openMessage({ userId, messageId }), new errors.NotOwnerError(messageId))
  }
  await t.rejects(app.journal.openMessage({ userId: 'bob', messageId }), { code: 'FST_JOURNAL_NOT_OWNER', statusCode: 403 })

  t.strictSame(await database.message(messageId), before)
  t.equal(await message.record('answer', {}), true, 'its writer is not fenced')
})

test('a messageId that is no UUID is refused with what it was', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)

  for (const messageId of ['', '42', '0198c0de-7a1e-7c3b-9d6e-0a4c9a1f000', '{0198c0de-7a1e-7c3b-9d6e-0a4c9a1f0001}']) {
    await t.rejects(app.journal.openMessage({ userId: 'ada', messageId }), {
      code: 'FST_JOURNAL_INVALID_MESSAGE_ID', statusCode: 400, message: `messageId must be a UUID, not ${JSON.stringify(messageId)}`
    })
  }
  await t.rejects(app.journal.openMessage({ userId: 'ada', messageId: 1n as never }), { message: 'messageId must be a UUID, not 1n' })
  await t.rejects(app.journal.openMessage({ userId: { id: 1 } as never }), { code: 'FST_JOURNAL_INVALID_USER_ID', message: /; got {"id":1}$/ })

  t.strictSame(await database.query('select from messages'), [])
})

test('with the database away, openMessage rejects with the cause', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, databaseUrl)
  const { app } = await startApp(t, { databaseUrl: proxy.url })
  proxy.refuse()

  await t.rejects(app.journal.openMessage({ userId: 'ada' }), { code: 'FST_JOURNAL_DATABASE_UNAVAILABLE', statusCode: 503, cause: { message: /ECONNRESET|terminated/ } })

  proxy.accept()
  t.ok(await app.journal.openMessage({ userId: 'ada' }))
})

test('an existing message is continued after its last event', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const first = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = first
  const before = await database.message(messageId)
  await first.record('answer', { n: 0 })
  await first.fail(new Error('no'))
  await database.query('insert into message_events (message_id, sequence_no, event_type) values ($1, 7, \'answer\')', [messageId]) // another program's

  const second = await app.journal.openMessage({ userId: 'ada', messageId })

  t.match(await database.message(messageId), { status: 'streaming', error: null, epoch: Number(before?.epoch) + 1 })
  t.equal(await second.record('answer', { n: 0 }), true, 'the same as its first event, and yet not that one')
  t.strictSame((await database.rows(messageId)).map((row) => row.sequence_no), [0, 1, 7, 8])
})

test('where another writer took a number, the events still stand in the order of the calls', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  await message.record('answer', { n: 0 })
  await app.journal.recordEvent(messageId, 1, 'other', {})
  await app.journal.recordEvent(messageId, 5, 'other', {})

  t.strictSame(await Promise.all([1, 2].map((n) => message.record('answer', { n }))), [true, true])
  t.equal(await message.record('answer', { n: 3 }), true)

  const answers = (await database.rows(messageId)).filter((row) => row.event_type === 'answer')
  t.strictSame(answers.map((row) => JSON.parse(row.payload).n), [0, 1, 2, 3])
})

test('an event that is refused leaves no hole in the numbers', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })

  const recorded = [{ n: 0 }, { n: 1n }, { n: 2 }].map(async (payload) => await message.record('answer', payload))

  t.strictSame(await Promise.all([...recorded, message.end({ n: 3n })]), [true, false, true, true])
  t.strictSame((await database.rows(message.messageId)).map(({ sequence_no: no, payload }) => [no, payload]), [[0, '{"n":0}'], [1, '{"n":2}'], [2, '{"type":"end"}']])
})

test('an empty event type is a warning and false, and takes no number', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })

  t.equal(await message.record('', {}), false)
  t.equal(await message.record('\0answer', {}), true)

  t.strictSame((await database.rows(message.messageId)).map((row) => [row.sequence_no, row.event_type]), [[0, 'answer']])
  t.match(linesAbout(lines, 'an event was not recorded'), [{ level: 40, messageId: message.messageId, reason: 'eventType is empty' }])
})

test('a message that is deleted tells its producer to stop', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })
  await message.record('answer', {})
  t.equal(app.journal.stats().producers, 1)

  await database.query('delete from messages')
  t.equal(await message.record('answer', {}), false)

  t.match(message.signal.reason, { code: 'FST_JOURNAL_FENCED' })
  t.equal(await message.end(), false)
  t.equal(app.journal.stats().producers, 0)
})
