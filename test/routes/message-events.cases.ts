import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import type { AuthorizedMessage, MessageJournalOptions } from '../../plugin/index.js'
import { startApp, USER_HEADER } from '../helper/app.js'
import { addMessage } from '../helper/journal.js'
import { connect, ids, type ConnectOptions } from '../helper/sse.js'

/** A finished message of one event, so that whoever may read it gets a response that ends. */
async function startWithMessage (t: Test, options: Partial<MessageJournalOptions> = {}, userId: string | null = 'ada') {
  const started = await startApp(t, options)
  const message = await started.app.journal.openMessage({ userId })
  await message.end()
  return { ...started, messageId: message.messageId, path: `${started.url}/api/messages/${message.messageId}/events` }
}

async function answer (t: Test, path: string, options?: ConnectOptions) {
  const reader = await connect(t, path, options)
  await reader.ended
  return { status: reader.status, body: reader.raw, ids: ids(reader) }
}

t.test('a message is its user\'s', async (t) => {
  const { path } = await startWithMessage(t)
  t.match(await answer(t, path), { status: 200, ids: ['0'] })
  t.equal((await answer(t, path, { user: 'eve' })).status, 404)
})

t.test('who is asking is settled before whether the id is one, and that before whether the message is there', async (t) => {
  const { url, path } = await startWithMessage(t)
  t.equal((await answer(t, `${url}/api/messages/7/events`, { user: '' })).status, 401)
  t.equal((await answer(t, path, { user: '' })).status, 401)
  t.equal((await answer(t, `${url}/api/messages/7/events`)).status, 400)
  t.equal((await answer(t, `${url}/api/messages/${randomUUID()}/events`)).status, 404)
  t.same(JSON.parse((await answer(t, path, { user: '' })).body), {
    statusCode: 401, code: 'FST_JOURNAL_UNAUTHENTICATED', error: 'Unauthorized', message: 'identify() named nobody for this request'
  })
})

t.test('nobody learns whether a message exists: a foreign one and an unknown one are answered with the same bytes', async (t) => {
  const { url, path } = await startWithMessage(t)
  const foreign = await connect(t, path, { user: 'eve' })
  const unknown = await connect(t, `${url}/api/messages/${randomUUID()}/events`, { user: 'eve' })
  await Promise.all([foreign.ended, unknown.ended])
  t.equal(foreign.status, 404)
  t.equal(foreign.raw, unknown.raw)
  const { date: _, ...headers } = foreign.response.headers
  t.match(unknown.response.headers, headers)
  t.same(JSON.parse(foreign.raw), { statusCode: 404, code: 'FST_JOURNAL_MESSAGE_NOT_FOUND', error: 'Not Found', message: 'There is no such message' })
})

t.test('an id that is no UUID is refused, and one in capitals is the same message', async (t) => {
  const { url, messageId } = await startWithMessage(t)
  for (const id of ['7', 'x'.repeat(36), `${messageId}0`, `%7B${messageId}%7D`, messageId.replaceAll('-', ''), `${messageId}%0A`, '%00', `urn:uuid:${messageId}`]) {
    const { status, body } = await answer(t, `${url}/api/messages/${id}/events`)
    t.equal(status, 400, id)
    t.match(JSON.parse(body), { statusCode: 400, code: 'FST_JOURNAL_INVALID_MESSAGE_ID', message: /messageId must be a UUID, not "/ })
  }
  t.match(await answer(t, `${url}/api/messages/${messageId.toUpperCase()}/events`), { status: 200, ids: ['0'] })
})

t.test('a message in capitals is live too', async (t) => {
  const { app, url } = await startApp(t)
  const messageId = await addMessage(app)
  const reader = await connect(t, `${url}/api/messages/${messageId.toUpperCase()}/events`)
  await app.journal.recordEvent(messageId, 0, 'answer')
  await reader.until(({ events }) => events.length === 1)
  t.equal(app.journal.stats().topics, 1)
})

t.test('identify may be async', async (t) => {
  const { path } = await startWithMessage(t, { identify: async (request) => await Promise.resolve(request.headers[USER_HEADER]?.toString()) })
  t.equal((await answer(t, path)).status, 200)
  t.equal((await answer(t, path, { user: 'eve' })).status, 404)
})

t.test('identify may name users by number', async (t) => {
  for (const id of [7, 7n, 0]) {
    const { path } = await startWithMessage(t, { identify: () => id }, String(id))
    t.equal((await answer(t, path)).status, 200, String(id))
  }
  const { path } = await startWithMessage(t, { identify: () => 7 }, '8')
  t.equal((await answer(t, path)).status, 404)
})

t.test('null, undefined, false, NaN and an empty text are nobody', async (t) => {
  for (const nobody of [null, undefined, '', false, NaN]) {
    const { path } = await startWithMessage(t, { identify: () => nobody as null }, null) // as an app without types may
    t.equal((await answer(t, path)).status, 401, String(nobody))
  }
})

t.test('what is no id is not taken for one, which would be the same for everyone', async (t) => {
  for (const [user, shown] of [[{ id: 1 }, '{"id":1}'], [[1], '[1]'], [true, 'true'], [() => 'ada', 'a function'], ['ada\0', '"ada\\u0000"']] as const) {
    const { path } = await startWithMessage(t, { identify: () => user as never }, '[object Object]') // as an app without types may
    const { status, body } = await answer(t, path)
    t.equal(status, 500)
    t.match(JSON.parse(body), { code: 'FST_JOURNAL_INVALID_USER_ID', message: `A user's id must be a string, a number or a bigint, without U+0000; got ${shown}` })
  }
})

t.test('an identify that throws or rejects is answered with its own error, and nothing is opened', async (t) => {
  const refusal = Object.assign(new Error('The session is over'), { statusCode: 419 })
  for (const identify of [() => { throw refusal }, () => Promise.reject(refusal)]) {
    const { app, path } = await startWithMessage(t, { identify })
    const { status, body } = await answer(t, path)
    t.equal(status, 419)
    t.match(JSON.parse(body), { message: 'The session is over' })
    t.equal(app.journal.stats().viewers, 0)
  }
})

t.test('with identify: false everyone may read everything', async (t) => {
  const { path } = await startWithMessage(t, { identify: false })
  t.equal((await answer(t, path, { user: '' })).status, 200)
})

t.test('a message without a user is nobody\'s', async (t) => {
  const { path } = await startWithMessage(t, {}, null)
  t.equal((await answer(t, path)).status, 404)
  t.equal((await answer(t, path, { user: 'null' })).status, 404)
})

t.test('authorize takes the place of "the message\'s user", and is told of the message', async (t) => {
  const asked: AuthorizedMessage[] = []
  const { path, messageId } = await startWithMessage(t, {
    authorize: (request, message) => {
      asked.push(message)
      return request.headers[USER_HEADER] === 'eve'
    }
  })
  t.equal((await answer(t, path, { user: 'eve' })).status, 200)
  t.equal((await answer(t, path)).status, 404, 'also for the user of the message')
  t.equal((await answer(t, path, { user: '' })).status, 401, 'after identify')
  const [message] = asked
  t.strictSame(message, { messageId, userId: 'ada', status: 'complete', createdAt: message?.createdAt })
  t.ok(Math.abs(Date.now() - Number(message?.createdAt)) < 3_600_000, 'createdAt is a Date of now')
})

t.test('authorize may be async, goes together with identify: false, and is not asked about a message that is not there', async (t) => {
  let asked = 0
  const { url, path } = await startWithMessage(t, { identify: false, authorize: async () => { asked++; return await Promise.resolve(false) } })
  t.equal((await answer(t, path)).status, 404)
  t.equal((await answer(t, `${url}/api/messages/${randomUUID()}/events`)).status, 404)
  t.equal(asked, 1)
})

t.test('an authorize that throws is answered with its own error', async (t) => {
  const { path } = await startWithMessage(t, { authorize: () => { throw Object.assign(new Error('Pay first'), { statusCode: 402 }) } })
  t.equal((await answer(t, path)).status, 402)
})

t.test('an error of the journal\'s database is a 503 that does not show the cause', async (t) => {
  const { app, path } = await startWithMessage(t)
  await app.pg.query('alter table message_events rename to elsewhere')
  const { status, body } = await answer(t, path)
  t.equal(status, 503)
  t.same(JSON.parse(body), {
    statusCode: 503, code: 'FST_JOURNAL_DATABASE_UNAVAILABLE', error: 'Service Unavailable', message: 'The journal\'s database cannot be reached at the moment'
  })
})
