import { once } from 'node:events'
import { connect as open } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { startApp } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { startClient } from '../helper/redis-client.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'
import { observe } from '../helper/writing.js'

t.test('app.close() does not wait for a database that is away: what it could not commit is false', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, databaseUrl)
  const { app } = await startApp(t, { databaseUrl: proxy.url })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  proxy.refuse()
  const recorded = app.journal.recordEvent(messageId, 0, 'answer', {})
  await proxy.untilRefused(1)
  await app.close()
  t.equal(await recorded, false)
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), false, 'nor is anything taken after it')
  t.strictSame(await database.rows(messageId), [])
})

t.test('app.close() cuts a reader that does not read', async (t) => {
  const { app, url, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
  await database.query(`insert into message_events (message_id, sequence_no, event_type, payload)
    select $1, n, 'answer', json_build_object('answer', (select string_agg(md5(n::text || i), '') from generate_series(1, 1000) i))
    from generate_series(0, 999) n`, [messageId])
  const { hostname, port } = new URL(url)
  const socket = open({ host: hostname, port: Number(port) })
  t.teardown(() => { socket.destroy() })
  socket.write(`GET /api/messages/${messageId}/events HTTP/1.1\r\nhost: app\r\nx-user: ada\r\n\r\n`)
  await once(socket, 'readable') // and nothing is read
  while (app.server.listening && !await isBlocked()) await new Promise((resolve) => { setImmediate(resolve) })
  await app.close()
  t.equal(app.journal.stats().viewers, 0)

  /** The server holds bytes that the socket does not take. */
  async function isBlocked (): Promise<boolean> {
    const before = socket.bytesRead
    await new Promise((resolve) => { setTimeout(resolve, 100) }) // a moment in which nothing moves is what is looked for
    return socket.bytesRead === before
  }
})

t.test('app.close() while notifications are being published: those that were announced an id are there, the others are null', async (t) => {
  const { app } = await startApp(t)
  const { redis } = await startClient(t)
  const padding = 'x'.repeat(200_000)
  const ids: Array<Promise<string | null>> = []
  const closing = app.close()
  // What comes behind the client's QUIT makes Redis cut the connection, and the QUIT fail.
  while (app.redis.status !== 'end') {
    for (let count = 0; count < 20; count++) ids.push(app.journal.publishUserEvent('ada', 'counted', { padding }))
    await nextTurn()
  }
  await closing
  const told = await Promise.all(ids)
  const { length } = await redis.xrange('user:ada:stream', '-', '+')
  t.equal(told.filter((id) => id !== null).length, length)
  t.equal(told.at(-1), null)
})
