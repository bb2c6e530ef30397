import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import swagger from '@fastify/swagger'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import messageJournal from '../../plugin/index.js'
import { startApp, USER_HEADER } from '../helper/app.js'
import { addMessage } from '../helper/journal.js'
import { createTestDatabase } from '../helper/database.js'
import { connect, ids } from '../helper/sse.js'

const NOBODYS = '/messages/0198c0de-7a1e-7c3b-9d6e-0a4c9a1f0001/events'

const connectionString = await createTestDatabase(t)

/** What other plugins of an app set up before the journal comes. */
async function startAfter (t: Test, prepare: (app: FastifyInstance) => void | Promise<void>): Promise<{ app: FastifyInstance, url: string }> {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  await app.register(postgres, { connectionString })
  await app.register(redis, { url: process.env.TEST_REDIS_URL ?? '' })
  await prepare(app)
  await app.register(messageJournal, { prefix: '/api', identify: (request) => request.headers[USER_HEADER]?.toString(), migrate: true })
  return { app, url: await app.listen({ port: 0, host: '127.0.0.1' }) }
}

/** The answers that every reader can get: the events, 204, 400, 401, 404. */
async function answers (t: Test, app: FastifyInstance, url: string) {
  const messageId = await addMessage(app)
  const path = `${url}/api/messages/${messageId}/events`
  const reader = await connect(t, path)
  await app.journal.recordEvent(messageId, 0, 'end')
  await reader.ended
  await app.pg.query('update messages set status = \'complete\' where message_id = $1', [messageId])
  const finished = await connect(t, path, { headers: { 'last-event-id': '0' } })
  const malformed = await connect(t, `${url}/api/messages/7/events`)
  const anonymous = await connect(t, path, { user: '' })
  const unknown = await connect(t, `${url}/api${NOBODYS}`)
  await Promise.all([finished, malformed, anonymous, unknown].map(({ ended }) => ended))
  t.same(ids(reader), ['0'])
  t.same([reader, finished, malformed, anonymous, unknown].map(({ status }) => status), [200, 204, 400, 401, 404])
  return { malformed, anonymous, unknown }
}

t.test('the routes are below the prefix, and at the root without one', async (t) => {
  for (const prefix of ['', '/api', '/a/b']) {
    const { url } = await startApp(t, { databaseUrl: connectionString, prefix })
    const reader = await connect(t, `${url}${prefix}${NOBODYS}`)
    await reader.ended
    t.match(JSON.parse(reader.raw), { code: 'FST_JOURNAL_MESSAGE_NOT_FOUND' }, prefix)
  }
})

t.test('a prefix inside another one is added to it, also in Location', async (t) => {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  await app.register(async (v1) => {
    await v1.register(postgres, { connectionString })
    await v1.register(redis, { url: process.env.TEST_REDIS_URL ?? '' })
    await v1.register(messageJournal, { prefix: '/api', identify: () => 'ada', migrate: true })
    v1.post('/chat', async (request, reply) => {
      const message = await v1.journal.openMessage({ userId: 'ada' })
      return reply.streamMessage(message, async ({ record }) => { await record('answer', { answer: 'Hi' }) })
    })
  }, { prefix: '/v1' })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const chat = await connect(t, `${url}/v1/chat`, { method: 'POST' })
  await chat.ended
  const { location, 'x-message-id': messageId } = chat.response.headers
  t.equal(location, `/v1/api/messages/${String(messageId)}/events`)
  const replay = await connect(t, `${url}${location ?? ''}`, { headers: { 'last-event-id': '0' } })
  await replay.ended
  t.same(ids(chat), ['0', '1'])
  t.same(ids(replay), ['1'])
  t.notOk(app.hasDecorator('journal'), 'and the app outside the prefix is as it was')
})

for (const [prefix, base] of [['/api/', '/api'], ['/', ''], ['api', '/api']] as const) {
  t.test(`Location names the route, also with the prefix "${prefix}"`, async (t) => {
    const { url } = await startApp(t, {
      databaseUrl: connectionString,
      prefix,
      extend: (app) => {
        app.post('/chat', async (request, reply) => reply.streamMessage(await app.journal.openMessage({ userId: 'ada' }), () => {}))
      }
    })
    const chat = await connect(t, `${url}/chat`, { method: 'POST' })
    await chat.ended
    const { location = '', 'x-message-id': messageId } = chat.response.headers
    t.equal(location, `${base}/messages/${String(messageId)}/events`)
    const replay = await connect(t, url + location)
    await replay.ended
    t.same(ids(replay), ['0'])
  })
}

t.test('a validator and a serializer that the app has chosen for its own routes are not the journal\'s', async (t) => {
  const { app, url } = await startAfter(t, (app) => {
    app.setValidatorCompiler(() => { throw new Error('a foreign validator was asked') })
    app.setSerializerCompiler(() => { throw new Error('a foreign serializer was asked') })
  })
  const { malformed } = await answers(t, app, url)
  t.match(JSON.parse(malformed.raw), { statusCode: 400, code: 'FST_JOURNAL_INVALID_MESSAGE_ID', error: 'Bad Request' })
})

t.test('an app that writes its errors in a form of its own writes the journal\'s in it', async (t) => {
  const { app, url } = await startAfter(t, (app) => {
    app.setErrorHandler<Error & { code: string, statusCode: number }>(async ({ code, statusCode }, request, reply) => reply.code(statusCode).send({ problem: code }))
  })
  const { malformed, anonymous, unknown } = await answers(t, app, url)
  t.same([malformed, anonymous, unknown].map(({ raw }) => JSON.parse(raw)), [
    { problem: 'FST_JOURNAL_INVALID_MESSAGE_ID' }, { problem: 'FST_JOURNAL_UNAUTHENTICATED' }, { problem: 'FST_JOURNAL_MESSAGE_NOT_FOUND' }
  ])
})

t.test('a hook of the app that answers for itself answers in its own form', async (t) => {
  const { url } = await startAfter(t, (app) => {
    app.addHook('onRequest', async (request, reply) => {
      if (request.headers.authorization === undefined) return await reply.code(401).send({ error: 'Log in first' })
    })
  })
  const reader = await connect(t, `${url}/api${NOBODYS}`)
  await reader.ended
  t.equal(reader.status, 401)
  t.same(JSON.parse(reader.raw), { error: 'Log in first' })
})

t.test('@fastify/swagger lists the route with its parameters and answers', async (t) => {
  const { app } = await startAfter(t, async (app) => { await app.register(swagger, { openapi: {} }) })
  const { paths } = JSON.parse(JSON.stringify(app.swagger()))
  t.match(paths['/api/messages/{messageId}/events'].get, {
    summary: /events past the cursor/,
    parameters: [
      { in: 'query', name: 'last_event_id', required: false },
      { in: 'path', name: 'messageId', required: true, schema: { type: 'string' } },
      { in: 'header', name: 'last-event-id', required: false }
    ]
  })
  t.same(Object.keys(paths['/api/messages/{messageId}/events'].get.responses), ['200', '204', '400', '401', '404', '429', '503'])
  t.same(Object.keys(paths['/api/messages/{messageId}/events'].get.responses[200].content), ['text/event-stream'])
})
