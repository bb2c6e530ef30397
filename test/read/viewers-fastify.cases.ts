import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify from 'fastify'
import { once, type EventEmitter } from 'node:events'
import http2 from 'node:http2'
import net, { type AddressInfo } from 'node:net'
import { PassThrough, Transform, type Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import messageJournal from '../../plugin/index.js'
import { startApp } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { gate } from '../helper/gate.js'
import { addMessage, ask, eventually, insertEvents, statusOf, upTo } from '../helper/journal.js'
import { connect, frames, ids } from '../helper/sse.js'

t.test('headers of every onSend hook are kept, of those too that were added after the plugin, on both ways to a stream', async (t) => {
  const { app, url } = await startApp(t, {
    extend (app) {
      app.addHook('onRequest', async (_request, reply) => { reply.header('x-request-hook', 'early') })
      app.addHook('onSend', async (_request, reply) => { reply.header('x-send-hook', 'late') })
      app.post('/ask', async (_request, reply) => {
        const message = await app.journal.openMessage({ userId: 'ada' })
        reply.raw.setHeader('x-raw', 'raw')
        return reply.code(201).streamMessage(message, async ({ record }) => { await record('answer', { n: 1 }) })
      })
    }
  })
  const posted = await connect(t, `${url}/ask`, { method: 'POST' })
  t.equal(posted.status, 201)
  t.match(posted.response.headers, { 'x-request-hook': 'early', 'x-send-hook': 'late', 'x-raw': 'raw', 'content-type': 'text/event-stream' })
  await posted.ended
  const replayed = await connect(t, `${url}${posted.response.headers.location}`)
  t.match(replayed.response.headers, { 'x-request-hook': 'early', 'x-send-hook': 'late', 'content-type': 'text/event-stream' })
  await replayed.ended
  t.equal(frames(replayed.raw), frames(posted.raw))
  t.match(app.journal.stats(), { viewers: 0, topics: 0 })
})

t.test('a hook that fails answers with its error, and leaves no viewer, no subscription and no slot behind', async (t) => {
  const failing = { now: true }
  const { app, url } = await startApp(t, {
    maxConnectionsPerUser: 1,
    extend (app) {
      app.addHook('onSend', async (_request, reply) => {
        if (failing.now && reply.statusCode === 200) throw new Error('the hook fails')
      })
    }
  })
  const messageId = await addMessage(app)
  const path = `${url}/api/messages/${messageId}/events`
  const refused = await connect(t, path)
  t.equal(refused.status, 500)
  await refused.ended
  t.match(app.journal.stats(), { viewers: 0, topics: 0 })
  failing.now = false
  await eventually(async () => (await connect(t, path)).status === 200)
})

async function startHttp2 (t: Test) {
  const app = Fastify({ http2: true })
  t.teardown(() => app.close())
  await app.register(postgres, { connectionString: await createTestDatabase(t) })
  await app.register(redis, { url: process.env.TEST_REDIS_URL ?? '' })
  await app.register(messageJournal, { identify: () => 'ada', migrate: true, keepaliveMs: 50 })
  app.post('/chat', async (_request, reply) => reply.streamMessage(await app.journal.openMessage({ userId: 'ada' }), async ({ signal }) => { await once(signal, 'abort') }))
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo // it listens on TCP
  return { app, url: `http://127.0.0.1:${port}` }
}

t.test('over HTTP/2 a stream is replayed, tailed, stopped from reading for a while and ended, and the app closes', async (t) => {
  const { app, url } = await startHttp2(t)
  const session = http2.connect(url)
  t.teardown(() => { session.destroy() })
  const message = await app.journal.openMessage({ userId: 'ada' })
  for (let n = 0; n < 5; n++) await message.record('answer', { n })

  const read = (): { text: () => string, stream: http2.ClientHttp2Stream } => {
    const stream = session.request({ ':path': `/messages/${message.messageId}/events` })
    let text = ''
    stream.setEncoding('utf8').on('data', (chunk: string) => { text += chunk })
    return { text: () => text, stream }
  }
  const idsIn = (text: string) => [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => id)
  const reader = read()
  const [headers] = await once(reader.stream, 'response')
  t.match(headers, { ':status': 200, 'content-type': 'text/event-stream' })
  await eventually(() => idsIn(reader.text()).length === 5)
  reader.stream.pause()
  for (let n = 5; n < 400; n++) await message.record('answer', { n, padding: 'x'.repeat(10_000) })
  reader.stream.resume()
  await message.end()
  await once(reader.stream, 'end')
  t.same(idsIn(reader.text()), upTo(401))

  const other = await app.journal.openMessage({ userId: 'ada' })
  const open = session.request({ ':path': `/messages/${other.messageId}/events` })
  let last = ''
  open.setEncoding('utf8').on('data', (chunk: string) => { last += chunk })
  await eventually(() => last.includes(': keepalive\n\n: keepalive\n\n'))
  const ended = once(open, 'end')
  const closed = app.close()
  await ended
  t.equal(last.match(/^retry: \d+$/gm)?.length, 2)
  await closed // with the client's session open
})

t.test('over HTTP/2 a client that leaves at once, or soon, leaves nothing behind', async (t) => {
  const { app, url } = await startHttp2(t)
  const messageId = await addMessage(app)
  const session = http2.connect(url)
  t.teardown(() => { session.destroy() })
  for (const [method, path] of [['GET', `/messages/${messageId}/events`], ['GET', '/events'], ['POST', '/chat']] as const) {
    for (let ms = 0; ms < 20; ms++) {
      const request = session.request({ ':method': method, ':path': path })
      request.on('error', () => {})
      request.end()
      await delay(ms / 2)
      request.close(http2.constants.NGHTTP2_CANCEL)
    }
  }
  await eventually(() => app.journal.stats().viewers === 0 && app.journal.stats().topics === 0)
  await eventually(async () => (await app.redis.hvals('user:ada:slots')).length === 0)
})

t.test('requests that are sent ahead on one connection are answered in turn, and leave nothing behind when it is cut', async (t) => {
  const { app, url } = await startApp(t, { maxConnectionsPerUser: 12 })
  const messageId = await addMessage(app)
  const path = `/api/messages/${messageId}/events`
  const { port } = new URL(url)
  const socket = net.connect(Number(port), '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  socket.write(`GET ${path} HTTP/1.1\r\nhost: test\r\nx-user: ada\r\n\r\n`.repeat(12))
  await eventually(() => app.journal.stats().viewers === 12)
  socket.destroy()
  await eventually(() => app.journal.stats().viewers === 0 && app.journal.stats().topics === 0)
  await eventually(async () => (await app.redis.hvals('user:ada:slots')).length === 0)

  const short = await addMessage(app)
  const both = net.connect(Number(port), '127.0.0.1')
  t.teardown(() => { both.destroy() })
  let text = ''
  both.setEncoding('utf8').on('data', (chunk: string) => { text += chunk })
  both.write(`GET /api/messages/${short}/events HTTP/1.1\r\nhost: test\r\nx-user: ada\r\n\r\n`.repeat(2))
  await eventually(() => app.journal.stats().viewers === 2)
  await app.journal.recordEvent(short, 0, 'end')
  await app.pg.query('update messages set status = \'complete\' where message_id = $1', [short])
  await eventually(() => text.match(/^id: 0$/gm)?.length === 2)
  await eventually(() => app.journal.stats().viewers === 0)
  both.destroy()
})

t.test('a hook of the app may put a stream of its own before the response', async (t) => {
  const { app, url } = await startApp(t, {
    stallTimeoutMs: 300,
    extend (app) {
      app.addHook('onSend', async (request, _reply, payload) => {
        if (request.headers['x-fail'] !== undefined) return (payload as Readable).pipe(new Transform({ transform (_chunk, _encoding, next) { next(new Error('the hook fails')) } }))
        return (payload as Readable).pipe(new PassThrough()) // what Fastify types as unknown
      })
      app.post('/ask', async (_request, reply) => reply.streamMessage(await app.journal.openMessage({ userId: 'ada' }), async ({ record }) => {
        for (let n = 0; n < 3_000; n++) await record('answer', { n, padding: 'x'.repeat(1_000) })
      }))
    }
  })
  const posted = await connect(t, `${url}/ask`, { method: 'POST' })
  await posted.ended
  t.same(ids(posted), upTo(3_001))
  const path = url + (posted.response.headers.location ?? '')
  const replayed = await connect(t, path)
  await replayed.ended
  t.equal(frames(replayed.raw), frames(posted.raw))

  const messageId = await addMessage(app)
  await insertEvents(app.pg.pool.options.connectionString ?? '', messageId, { count: 3_000, bytes: 10_000 })
  const stalled = await connect(t, `${url}/api/messages/${messageId}/events`)
  stalled.ended.catch(() => {})
  stalled.response.pause()
  t.equal(app.journal.stats().viewers, 1)
  await eventually(() => app.journal.stats().viewers === 0)
  await t.rejects(connect(t, path, { headers: { 'x-fail': '1' } }))
  await eventually(() => app.journal.stats().viewers === 0)

  const open = await connect(t, `${url}/api/messages/${await addMessage(app)}/events`)
  await app.close()
  await open.ended
  t.equal(open.retries.length, 2)
})

t.test('a header that is none is an error of the app, and the answer is produced all the same', async (t) => {
  const { app, url, databaseUrl } = await startApp(t, {
    extend (app) {
      app.addHook('onRequest', async (_request, reply) => { reply.header('x-name', '☃') })
      app.post('/ask', async (_request, reply) => reply.streamMessage(await app.journal.openMessage({ userId: 'ada' }), async ({ record }) => { await record('answer') }))
    }
  })
  const posted = await connect(t, `${url}/ask`, { method: 'POST' })
  t.equal(posted.status, 500)
  const [message] = await ask<{ message_id: string }>(databaseUrl, 'select message_id from messages')
  const messageId = message?.message_id ?? ''
  await eventually(async () => await statusOf(databaseUrl, messageId) === 'complete')
  for (const path of [`/api/messages/${messageId}/events`, '/api/events']) {
    const reader = await connect(t, url + path)
    t.equal(reader.status, 500, path)
    await reader.ended
  }
  t.match(app.journal.stats(), { viewers: 0, topics: 0, producers: 0 })
})

t.test('streamMessage names what is no message, and a HEAD of the app\'s own route is answered', async (t) => {
  const { app, url } = await startApp(t, {
    extend (app) {
      app.post('/promise', async (_request, reply) => reply.streamMessage(app.journal.openMessage({ userId: 'ada' }) as never, () => {}))
      app.post('/nothing', async (_request, reply) => reply.streamMessage(undefined as never, () => {}))
      app.get('/ask', async (_request, reply) => reply.streamMessage(await app.journal.openMessage({ userId: 'ada' }), () => {}))
    }
  })
  for (const [path, message] of [['/promise', /got a promise: an await is missing/], ['/nothing', /got undefined/]] as const) {
    const refused = await connect(t, url + path, { method: 'POST' })
    await refused.ended
    t.match(JSON.parse(refused.raw), { code: 'FST_JOURNAL_NOT_A_MESSAGE', message })
  }
  const head = await connect(t, `${url}/ask`, { method: 'HEAD' })
  t.equal(head.status, 200)
  t.match(app.journal.stats(), { viewers: 0, topics: 0 })
})

t.test('a client that has left before the answer begins costs nothing', async (t) => {
  const { app, url } = await startApp(t, {
    extend (app) {
      app.addHook('onSend', async (request, reply) => {
        if (request.headers['x-leave'] === undefined) return
        request.raw.socket.destroy()
        if (!reply.raw.destroyed) await once(reply.raw, 'close')
      })
    }
  })
  const messageId = await addMessage(app)
  const path = `${url}/api/messages/${messageId}/events`
  await t.rejects(connect(t, path, { headers: { 'x-leave': '1' } }))
  const next = await connect(t, path)
  t.match(app.journal.stats(), { viewers: 1, topics: 1 })
  await app.journal.recordEvent(messageId, 0, 'end')
  await next.until(({ events }) => events.length === 1)
  t.same(ids(next), ['0'])
})

t.test('a hook may treat the answer as the stream that it looks like', async (t) => {
  const seen: string[] = []
  const { app, url } = await startApp(t, {
    extend (app) {
      app.addHook('onSend', async (_request, _reply, payload) => {
        const stream = payload as EventEmitter // what Fastify types as unknown
        const listener = (): void => {}
        for (const method of ['on', 'once', 'off', 'removeListener'] as const) {
          if (stream[method]('close', listener) === stream) seen.push(method)
        }
      })
    }
  })
  const messageId = await addMessage(app)
  await app.journal.recordEvent(messageId, 0, 'answer', { n: 1 })
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
  await reader.until(({ events }) => events.length === 1)
  t.same(seen, ['on', 'once', 'off', 'removeListener'])
})

t.test('a stream that begins while the app closes is a retry, and ends', async (t) => {
  const [closing, answered] = [gate(), gate()]
  const { app, url } = await startApp(t, {
    extend (app) {
      app.addHook('onSend', async () => {
        app.close()
        await closing.opened
      })
      app.addHook('preClose', async () => { // behind the plugin's
        closing.open()
        await answered.opened
      })
    }
  })
  const messageId = await addMessage(app)
  await app.journal.recordEvent(messageId, 0, 'answer', { n: 1 })
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
  await reader.ended
  t.same(reader.events, [])
  t.ok(reader.retries.length > 0)
  answered.open()
})
