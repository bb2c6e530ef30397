import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify from 'fastify'
import http from 'node:http'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import messageJournal, { type MessageJournalOptions } from '../../plugin/index.js'
import { startApp, USER_HEADER } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { connect, type Connection } from '../helper/sse.js'

/** An app that does not cut its connections when it closes, as most do not; one that is kept outlasts the test. */
async function startDefault (t: Test, options: Partial<MessageJournalOptions> = {}) {
  const connectionString = await createTestDatabase(t)
  const app = Fastify({ keepAliveTimeout: 600_000 })
  t.teardown(() => app.close())
  await app.register(postgres, { connectionString })
  await app.register(redis, { url: process.env.TEST_REDIS_URL ?? '' })
  await app.register(messageJournal, { prefix: '/api', identify: () => 'ada', migrate: true, maxConnectionsPerUser: 0, ...options })
  return app
}

t.test('app.close() ends every open response with a jittered retry and no terminal event, and returns', async (t) => {
  const { app, url } = await startApp(t, { retryMs: 4_000 })
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
  await app.journal.recordEvent(messageId, 0, 'answer')
  const readers: Connection[] = await Promise.all(Array.from({ length: 50 }, () => connect(t, `${url}/api/messages/${messageId}/events`)))
  await Promise.all(readers.map((reader) => reader.until(({ events }) => events.length === 1)))
  await app.close()
  await Promise.all(readers.map(({ ended }) => ended))
  for (const reader of readers) t.match(reader.raw, /^: connected\n\nretry: \d+\n\ndata: {}\nid: 0\n\nretry: \d+\n\n$/)
  const last = readers.map(({ retries }) => retries.at(-1) ?? 0)
  t.ok(last.every((retry) => retry >= 2_000 && retry <= 6_000), `${last.join()} are around retryMs`)
  t.ok(new Set(last).size > 5, 'and the crowd does not return as one')
  t.same(app.journal.stats().viewers, 0)
})

t.test('app.close() returns though the viewers\' clients would keep their connections', async (t) => {
  const app = await startDefault(t)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
  const agent = new http.Agent({ keepAlive: true })
  t.teardown(() => { agent.destroy() })
  const responses = await Promise.all(Array.from({ length: 20 }, () => new Promise<http.IncomingMessage>((resolve, reject) => {
    http.get(`${url}/api/messages/${messageId}/events`, { agent }, resolve).on('error', reject)
  })))
  const read = responses.map((response) => response.toArray())
  await app.close() // or the test's timeout: Fastify waits for a connection that is not idle
  for (const chunks of await Promise.all(read)) t.match(Buffer.concat(chunks).toString(), /\nretry: \d+\n\n$/)
})

t.test('app.close() returns though a stream begins behind it, on a connection that its client would keep', async (t) => {
  const app = await startDefault(t)
  let closed: Promise<void> | undefined
  app.addHook('onSend', async () => {
    closed = app.close()
    while (app.server.listening) await turn()
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
  const agent = new http.Agent({ keepAlive: true })
  t.teardown(() => { agent.destroy() })
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    http.get(`${url}/api/messages/${messageId}/events`, { agent }, resolve).on('error', reject)
  })
  t.match(Buffer.concat(await response.toArray()).toString(), /^: connected\n\nretry: \d+\n\nretry: \d+\n\n$/)
  await closed
})

t.test('app.close() returns with viewers of inject() open', async (t) => {
  const app = await startDefault(t)
  await app.ready()
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
  const response = await app.inject({ url: `/api/messages/${messageId}/events`, payloadAsStream: true })
  const read = response.stream().toArray()
  await app.close()
  t.match(Buffer.concat(await read).toString(), /^: connected\n\nretry: \d+\n\nretry: \d+\n\n$/)
})

t.test('a reader that comes while the app closes is told so', async (t) => {
  let identified = (): void => {}
  let asked = (): void => {}
  const arrived = new Promise<void>((resolve) => { asked = resolve })
  const { app, url } = await startApp(t, {
    identify: async (request) => {
      asked()
      await new Promise<void>((resolve) => { identified = resolve })
      return request.headers[USER_HEADER]?.toString()
    },
    extend: (app) => {
      app.addHook('preClose', async () => { // behind the journal's
        identified()
        const reader = await answer
        await reader.ended
      })
    }
  })
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
  const answer = connect(t, `${url}/api/messages/${messageId}/events`)
  await arrived
  await app.close()
  const reader = await answer
  t.equal(reader.status, 503)
  t.match(JSON.parse(reader.raw), { code: 'FST_JOURNAL_CLOSED' })
  t.equal(reader.response.headers.connection, 'close', 'or the app would wait for it')
})

t.test('app.close() returns while a read of the journal is being tried again', async (t) => {
  const { app, url, lines } = await startApp(t)
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
  await app.journal.recordEvent(messageId, 0, 'answer')
  await reader.until(({ events }) => events.length === 1)
  await app.pg.query('alter table message_events rename to elsewhere')
  await app.redis.publish(`channel:${messageId}`, '{"sequence_no":5,"payload":{}}')
  while (!lines.some(({ msg }) => msg === 'journal: a read failed and will be tried again')) await app.pg.query('select 1')
  await app.close()
  await reader.ended
  t.equal(reader.retries.length, 2)
})

t.test('what was recorded before the close is committed by it', async (t) => {
  const first = await startApp(t)
  const { messageId } = await first.app.journal.openMessage({ userId: 'ada' })
  const recorded = Array.from({ length: 200 }, (_, i) => first.app.journal.recordEvent(messageId, i, 'answer', { i }))
  await first.app.close()
  t.ok((await Promise.all(recorded)).every(Boolean))
  const second = await startApp(t, { databaseUrl: first.databaseUrl })
  const reader = await connect(t, `${second.url}/api/messages/${messageId}/events`)
  await reader.until(({ events }) => events.length === 200)
})
