import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify from 'fastify'
import { once, type EventEmitter } from 'node:events'
import http2 from 'node:http2'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import messageJournal from '../plugin/index.js'
import { startApp } from './helper/app.js'
import { createTestDatabase } from './helper/database.js'
import { gate } from './helper/gate.js'
import { eventually, upTo } from './helper/journal.js'
import { connect, frames, ids } from './helper/sse.js'

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
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
  const path = `${url}/api/messages/${messageId}/events`
  const refused = await connect(t, path)
  t.equal(refused.status, 500)
  await refused.ended
  t.match(app.journal.stats(), { viewers: 0, topics: 0 })
  failing.now = false
  await eventually(async () => (await connect(t, path)).status === 200)
})

t.test('over HTTP/2 a stream is replayed, tailed, stopped from reading for a while and ended, and the app closes', async (t) => {
  const app = Fastify({ http2: true, forceCloseConnections: true })
  t.teardown(() => app.close())
  await app.register(postgres, { connectionString: await createTestDatabase(t) })
  await app.register(redis, { url: process.env.TEST_REDIS_URL ?? '' })
  await app.register(messageJournal, { identify: () => 'ada', migrate: true })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo // it listens on TCP
  const session = http2.connect(`http://127.0.0.1:${port}`)
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
  await eventually(() => last.includes('retry:'))
  const ended = once(open, 'end')
  session.once('error', () => {}) // a session that the server closes
  const closed = app.close()
  await ended
  t.equal(last.match(/^retry: \d+$/gm)?.length, 2)
  session.close()
  await closed
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
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
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
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
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
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
  await app.journal.recordEvent(messageId, 0, 'answer', { n: 1 })
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
  await reader.ended
  t.same(reader.events, [])
  t.ok(reader.retries.length > 0)
  answered.open()
})
