import { connect as connectTcp, createServer } from 'node:net'
import t, { type Test } from 'tap'
import { messageTopic } from '../../plugin/wire/names.js'
import { startApp, type TestApp } from '../helper/app.js'
import { addMessage } from '../helper/journal.js'
import { createTestDatabase } from '../helper/database.js'
import { connect, ids } from '../helper/sse.js'
import { countStatements } from '../helper/writing.js'
import { listenOnFreePort } from '../helper/free-port.js'

const databaseUrl = await createTestDatabase(t)
const redis = new URL(process.env.TEST_REDIS_URL ?? '')

/** A Redis whose answers on the connection that subscribes can be held back. */
async function startProxy (t: Test) {
  let held = false
  let flush: Array<() => void> = []
  let asked = (): void => {}
  const server = createServer((client) => {
    const upstream = connectTcp(Number(redis.port), redis.hostname)
    let subscribes = false
    client.on('data', (chunk) => {
      subscribes ||= chunk.includes('\r\nsubscribe\r\n')
      upstream.write(chunk)
      if (chunk.includes('\r\nsubscribe\r\n')) asked()
    })
    upstream.on('data', (chunk) => {
      if (held && subscribes) flush.push(() => client.write(chunk))
      else client.write(chunk)
    })
    for (const [socket, other] of [[client, upstream], [upstream, client]] as const) {
      socket.on('error', () => {}) // the close tells
      socket.on('close', () => { other.destroy() })
    }
  })
  t.teardown(() => { server.close() })
  const port = await listenOnFreePort(server)
  return {
    url: `redis://127.0.0.1:${port}`,
    /** From now on; resolves when a SUBSCRIBE has been sent. */
    hold () {
      held = true
      return new Promise<void>((resolve) => { asked = resolve })
    },
    release () {
      held = false
      for (const send of flush) send()
      flush = []
    }
  }
}

/** Some trips to Postgres and back: whatever was about to be read would have been. */
async function someTrips ({ app }: TestApp): Promise<void> {
  for (let i = 0; i < 10; i++) await app.pg.query('select 1')
}

async function start (t: Test) {
  const proxy = await startProxy(t)
  const started = await startApp(t, { databaseUrl, redisUrl: proxy.url })
  const messageId = await addMessage(started.app)
  await started.app.journal.recordEvent(messageId, 0, 'answer')
  return { ...started, started, proxy, messageId, path: `${started.url}/api/messages/${messageId}/events` }
}

t.test('the journal is not read before Redis has acknowledged the subscription, but the opening is sent', async (t) => {
  const { app, started, proxy, messageId, path } = await start(t)
  const reads = countStatements(started.app, /readFrames|readPage/)
  const asked = proxy.hold()
  const reader = await connect(t, path)
  await reader.until(({ retries }) => retries.length > 0)
  await asked
  await someTrips(started)
  t.equal(reads(), 0)
  t.notMatch(reader.raw, 'data:')
  // Committed by a process whose publish this one did not get: the read that follows the acknowledgement finds it
  await app.pg.query('insert into message_events (message_id, sequence_no, event_type) values ($1, 1, \'answer\')', [messageId])
  proxy.release()
  await reader.until(({ events }) => events.length === 2)
  t.ok(reads() > 0)
})

t.test('what is published between the subscription and its acknowledgement arrives once', async (t) => {
  const { app, proxy, messageId, path } = await start(t)
  const asked = proxy.hold()
  const reader = await connect(t, path)
  await asked
  while ((await app.redis.pubsub('NUMSUB', messageTopic(messageId)))[1] !== 1);
  for (let i = 1; i < 20; i++) await app.journal.recordEvent(messageId, i, 'answer')
  proxy.release()
  await app.journal.recordEvent(messageId, 20, 'end')
  await reader.ended
  t.same(ids(reader), Array.from({ length: 21 }, (_, i) => String(i)))
})

t.test('a Redis that does not answer holds a reader back for a moment only; what it missed comes with the acknowledgement', async (t) => {
  const { app, proxy, messageId, path } = await start(t)
  const asked = proxy.hold()
  const reader = await connect(t, path)
  await asked
  await reader.until(({ events }) => events.length === 1)
  await app.pg.query('insert into message_events (message_id, sequence_no, event_type) values ($1, 1, \'answer\')', [messageId])
  proxy.release()
  await reader.until(({ events }) => events.length === 2)
  t.same(ids(reader), ['0', '1'])
})

t.test('a second viewer of a topic that is acknowledged reads at once', async (t) => {
  const { app, proxy, messageId, path } = await start(t)
  const first = await connect(t, path)
  await first.until(({ events }) => events.length === 1)
  proxy.hold()
  const second = await connect(t, path)
  await second.until(({ events }) => events.length === 1)
  proxy.release()
  await app.journal.recordEvent(messageId, 1, 'end')
  await Promise.all([first.ended, second.ended])
  t.same([ids(first), ids(second)], [['0', '1'], ['0', '1']])
})

t.test('a client that leaves before the acknowledgement costs no read and no subscription', async (t) => {
  const { app, started, proxy, messageId, path } = await start(t)
  const reads = countStatements(started.app, /readFrames|readPage/)
  const asked = proxy.hold()
  const reader = await connect(t, path)
  await asked
  reader.cut()
  while (app.journal.stats().viewers > 0) await someTrips(started)
  proxy.release()
  while ((await app.redis.pubsub('NUMSUB', messageTopic(messageId)))[1] !== 0);
  await someTrips(started)
  t.equal(reads(), 0)
  t.match(app.journal.stats(), { viewers: 0, topics: 0 })
})
