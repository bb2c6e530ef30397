import { once } from 'node:events'
import http from 'node:http'
import type { Socket } from 'node:net'
import t from 'tap'
import { startApp } from '../helper/app.js'
import { addMessage } from '../helper/journal.js'
import { connect, ids } from '../helper/sse.js'

const { app, url } = await startApp(t, { keepaliveMs: 25 })

async function createMessage () {
  const messageId = await addMessage(app)
  return { messageId, path: `${url}/api/messages/${messageId}/events` }
}

async function turns (condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => { setImmediate(resolve) })
}

/** So many rows of a kilobyte. */
async function insert (messageId: string, rows: number): Promise<void> {
  await app.pg.query(`insert into message_events (message_id, sequence_no, event_type, payload)
    select $1, n, 'answer', json_build_object('answer', repeat('x', 1000)) from generate_series(0, $2::int - 1) n`, [messageId, rows])
}

t.test('an idle viewer gets keepalives, before the first event and after it', async (t) => {
  const { messageId, path } = await createMessage()
  const reader = await connect(t, path)
  await reader.until(({ comments }) => comments.length >= 4)
  t.same(reader.comments.slice(0, 4), ['connected', 'keepalive', 'keepalive', 'keepalive'])
  await app.journal.recordEvent(messageId, 0, 'answer')
  await reader.until(({ events }) => events.length === 1)
  const before = reader.comments.length
  await reader.until(({ comments }) => comments.length >= before + 2)
  await app.journal.recordEvent(messageId, 1, 'end')
  await reader.ended
  t.same(ids(reader), ['0', '1'])
})

t.test('keepalives never cut a frame in two', async (t) => {
  const { messageId, path } = await createMessage()
  await insert(messageId, 5_000)
  await app.journal.recordEvent(messageId, 5_000, 'end')
  const reader = await connect(t, path)
  await reader.ended
  t.same(ids(reader), Array.from({ length: 5_001 }, (_, i) => String(i)))
  t.ok(reader.events.slice(0, -1).every(({ data }) => data === reader.events[0]?.data))
})

t.test('a client that leaves in mid-replay leaks neither a viewer, nor a subscription, nor a pool client', async (t) => {
  const { messageId, path } = await createMessage()
  await insert(messageId, 20_000)
  for (let i = 0; i < 10; i++) {
    const reader = await connect(t, path)
    await once(reader.response, 'data')
    if (i % 2 === 0) reader.response.pause()
    reader.cut()
  }
  await turns(() => app.journal.stats().viewers === 0)
  t.equal(app.journal.stats().topics, 0)
  while ((await app.redis.pubsub('NUMSUB', `channel:${messageId}`))[1] !== 0);
  const { pool } = app.pg
  await turns(() => pool.idleCount === pool.totalCount)
  t.equal(pool.waitingCount, 0)
})

t.test('a client that leaves while its message is looked up leaks nothing', async (t) => {
  const { messageId, path } = await createMessage()
  await app.journal.recordEvent(messageId, 0, 'end')
  const client = await app.pg.connect()
  t.teardown(() => { client.release(true) })
  await client.query('begin')
  await client.query('lock table messages in access exclusive mode')
  const request = http.get(path, { agent: false, headers: { 'x-user': 'ada' } })
  request.on('error', () => {}) // it is cut below
  const [, { socket }] = await once(app.server, 'request') as [http.IncomingMessage, http.ServerResponse & { socket: Socket }]
  const waiting = 'select 1 from pg_locks where relation = \'messages\'::regclass and not granted'
  while ((await client.query(waiting)).rowCount === 0);
  request.destroy()
  await once(socket, 'close')
  await client.query('commit')
  const next = await connect(t, path)
  await next.ended
  await turns(() => app.journal.stats().viewers === 0)
  t.equal(app.journal.stats().topics, 0)
})

t.test('viewers are counted while they are open, and their messages once', async (t) => {
  const [one, other] = [await createMessage(), await createMessage()]
  const readers = await Promise.all([one, one, other].map(({ path }) => connect(t, path)))
  t.match(app.journal.stats(), { viewers: 3, topics: 2 })
  readers[0]?.cut()
  await turns(() => app.journal.stats().viewers === 2)
  t.match(app.journal.stats(), { topics: 2 })
  readers[2]?.cut()
  await turns(() => app.journal.stats().viewers === 1)
  t.match(app.journal.stats(), { topics: 1 })
})
