import { addMessage } from '../helper/journal.js'
import cors from '@fastify/cors'
import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify from 'fastify'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createConnection } from 'node:net'
import t, { type Test } from 'tap'
import messageJournal from '../../plugin/index.js'
import { createTestDatabase } from '../helper/database.js'
import { connect, ids } from '../helper/sse.js'

const RETRY_MS = 3_000

const app = Fastify({ forceCloseConnections: true })
const connectionString = await createTestDatabase(t)
t.teardown(() => app.close())
await app.register(cors, { origin: 'https://app.example', credentials: true, exposedHeaders: ['x-trace'] })
app.addHook('onRequest', async (request, reply) => { reply.header('x-trace', 'of onRequest') })
app.addHook('onSend', async (request, reply, payload) => {
  reply.header('x-sent', 'of onSend')
  return payload
})
await app.register(postgres, { connectionString })
await app.register(redis, { url: process.env.TEST_REDIS_URL ?? '' })
await app.register(messageJournal, { prefix: '/api', identify: () => 'ada', migrate: true, maxConnectionsPerUser: 0, retryMs: RETRY_MS })
const url = await app.listen({ port: 0, host: '127.0.0.1' })

async function createMessage () {
  const messageId = await addMessage(app)
  return { messageId, path: `/api/messages/${messageId}/events` }
}

/** A message that is finished after one event. */
async function createFinished () {
  const message = await app.journal.openMessage({ userId: 'ada' })
  await message.end()
  return { messageId: message.messageId, path: `/api/messages/${message.messageId}/events` }
}

/** Of the app's hooks and plugins. */
const APPS_HEADERS = {
  'access-control-allow-origin': 'https://app.example',
  'access-control-allow-credentials': 'true',
  'access-control-expose-headers': 'x-trace',
  'x-trace': 'of onRequest',
  'x-sent': 'of onSend'
}

t.test('the headers are those of an event stream that nobody may keep or change, next to those of the app', async (t) => {
  const { path } = await createMessage()
  const { status, response: { headers } } = await connect(t, url + path, { headers: { origin: 'https://app.example' } })
  t.equal(status, 200)
  const { date, connection, vary, ...others } = headers
  t.strictSame(others, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
    'transfer-encoding': 'chunked',
    ...APPS_HEADERS
  })
})

t.test('headers, ": connected" and a jittered retry arrive before there is any event', async (t) => {
  const { path } = await createMessage()
  const readers = await Promise.all(Array.from({ length: 20 }, () => connect(t, url + path)))
  await Promise.all(readers.map((reader) => reader.until(({ retries }) => retries.length > 0)))
  for (const reader of readers) t.match(reader.raw, /^: connected\n\nretry: \d+\n\n$/)
  const retries = readers.flatMap((reader) => reader.retries)
  t.ok(retries.every((retry) => retry >= RETRY_MS / 2 && retry <= RETRY_MS * 1.5), `${retries.join()} are around retryMs`)
  t.ok(new Set(retries).size > 1, 'and not one for all')
})

t.test('the whole response is the opening and one frame an event: data, then id, then a blank line', async (t) => {
  const { messageId, path } = await createMessage()
  await app.journal.recordEvent(messageId, 0, 'answer', { type: 'answer', answer: 'Hi' })
  await app.journal.recordEvent(messageId, 1, 'end', { type: 'end' })
  const reader = await connect(t, url + path)
  await reader.ended
  t.match(reader.raw, /^: connected\n\nretry: \d+\n\ndata: {"type":"answer","answer":"Hi"}\nid: 0\n\ndata: {"type":"end"}\nid: 1\n\n: end complete\n\n$/)
})

t.test('204, 400 and 404 keep the app\'s headers too', async (t) => {
  const { path } = await createFinished()
  for (const [status, target, headers] of [[204, path, { 'last-event-id': '0' }], [400, '/api/messages/7/events', {}], [404, `/api/messages/${randomUUID()}/events`, {}]] as const) {
    const reader = await connect(t, url + target, { headers: { origin: 'https://app.example', ...headers } })
    t.equal(reader.status, status)
    t.match(reader.response.headers, APPS_HEADERS)
  }
})

t.test('204 has neither a body nor a length that announces one', async (t) => {
  const { path } = await createFinished()
  const text = await exchange(t, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nLast-Event-ID: 0\r\n\r\n`)
  t.match(text, /^HTTP\/1.1 204 No Content\r\n/)
  t.ok(text.endsWith('\r\n\r\n'), 'the head is all')
  t.notMatch(text, /content-length: [1-9]|transfer-encoding|content-type/i)
})

t.test('a client of HTTP/1.0 gets the stream without chunks', async (t) => {
  const { path } = await createFinished()
  const text = await exchange(t, `GET ${path} HTTP/1.0\r\n\r\n`)
  t.match(text, /^HTTP\/1.1 200 OK\r\n/)
  t.match(text, /\r\n\r\n: connected\n\nretry: \d+\n\ndata: {"type":"end"}\nid: 0\n\n: end complete\n\n$/)
})

t.test('connections stay open for the next request when a response has ended', async (t) => {
  const { path } = await createFinished()
  const request = `GET ${path} HTTP/1.1\r\nHost: a\r\n`
  const text = await exchange(t, `${request}\r\n${request}Connection: close\r\n\r\n`)
  t.equal(text.split('HTTP/1.1 200 OK').length - 1, 2)
})

t.test('HEAD and other methods open no viewer', async (t) => {
  const { path } = await createMessage()
  for (const method of ['HEAD', 'POST', 'DELETE']) {
    const reader = await connect(t, url + path, { method })
    await reader.ended
    t.equal(reader.status, 404, method)
  }
  t.equal(app.journal.stats().topics, 0)
})

t.test('inject() reads a finished stream whole, and a live one as it comes', async (t) => {
  const finished = await createFinished()
  t.match((await app.inject(finished.path)).body, /^: connected\n\nretry: \d+\n\ndata: {"type":"end"}\nid: 0\n\n: end complete\n\n$/)

  const { messageId, path } = await createMessage()
  const response = await app.inject({ url: path, payloadAsStream: true })
  t.equal(response.headers['content-type'], 'text/event-stream')
  const stream = response.stream().setEncoding('utf8')
  let text = ''
  stream.on('data', (chunk: string) => { text += chunk })
  await once(stream, 'data')
  t.match(text, /^: connected/)
  await app.journal.recordEvent(messageId, 0, 'end')
  await once(stream, 'end')
  t.match(text, /data: {}\nid: 0\n\n: end complete\n\n$/)
})

t.test('what is not text/event-stream in Accept is served all the same: fetch() sends */*', async (t) => {
  const { path } = await createFinished()
  for (const accept of ['*/*', 'text/event-stream', 'application/json']) {
    const reader = await connect(t, url + path, { headers: { accept } })
    await reader.ended
    t.same(ids(reader), ['0'], accept)
  }
})

/** Everything that the server writes until it closes the connection. */
async function exchange (t: Test, request: string): Promise<string> {
  const socket = createConnection({ host: '127.0.0.1', port: Number(new URL(url).port) })
  t.teardown(() => { socket.destroy() })
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk: string) => { text += chunk })
  socket.write(request)
  await once(socket, 'end')
  return text
}
