import t, { type Test } from 'tap'
import { startRedis } from '../../servers/redis.js'
import { messageTopic } from '../../plugin/wire/names.js'
import { startApp, type TestApp } from '../helper/app.js'
import { addMessage } from '../helper/journal.js'
import { connect, ids, type Connection } from '../helper/sse.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'

const server = await startRedis()
t.teardown(() => server.stop())

async function createMessages ({ app }: TestApp, count: number): Promise<string[]> {
  return await Promise.all(Array.from({ length: count }, async () => await addMessage(app)))
}

async function read (t: Test, { url }: TestApp, messageId: string): Promise<Connection> {
  return await connect(t, `${url}/api/messages/${messageId}/events`)
}

/** Asks until the messages' topics have so many connections each. */
async function subscriptions ({ app }: TestApp, messageIds: string[], expected: number): Promise<void> {
  for (;;) {
    const counts = await app.redis.pubsub('NUMSUB', ...messageIds.map(messageTopic))
    if (messageIds.every((_, i) => counts[2 * i + 1] === expected)) return
  }
}

/** For each connection that has subscriptions: how many. */
async function subscribers ({ app }: TestApp): Promise<number[]> {
  const list = String(await app.redis.client('LIST'))
  return [...list.matchAll(/ sub=([1-9]\d*)/g)].map(([, count]) => Number(count))
}

t.test('two hundred viewers of a hundred messages cost one connection per process, and a hundred subscriptions', async (t) => {
  const one = await startApp(t, { redisUrl: server.url })
  const messageIds = await createMessages(one, 100)
  const readers = await Promise.all([...messageIds, ...messageIds].map((messageId) => read(t, one, messageId)))
  await subscriptions(one, messageIds, 1)
  t.same(await subscribers(one), [101])
  t.same(one.app.journal.stats(), { viewers: 200, topics: 100, producers: 0 })
  await Promise.all(messageIds.map((messageId) => one.app.journal.recordEvent(messageId, 0, 'answer')))
  await Promise.all(readers.map((reader) => reader.until(({ events }) => events.length === 1)))

  const other = await startApp(t, { redisUrl: server.url, databaseUrl: one.databaseUrl })
  await Promise.all(messageIds.map((messageId) => read(t, other, messageId)))
  await subscriptions(one, messageIds, 2)
  t.same(await subscribers(one), [101, 101], 'another process has one of its own')
})

t.test('a topic is dropped with its last viewer, and subscribed again for the next', async (t) => {
  const one = await startApp(t, { redisUrl: server.url })
  const [messageId = ''] = await createMessages(one, 1)
  const readers = [await read(t, one, messageId), await read(t, one, messageId)]
  await subscriptions(one, [messageId], 1)
  readers[0]?.cut()
  await viewers(one, 1)
  await one.app.journal.recordEvent(messageId, 0, 'answer')
  await readers[1]?.until(({ events }) => events.length === 1)
  t.equal(one.app.journal.stats().topics, 1)
  await subscriptions(one, [messageId], 1)
  readers[1]?.cut()
  await subscriptions(one, [messageId], 0)
  t.match(one.app.journal.stats(), { viewers: 0, topics: 0 })

  const next = await read(t, one, messageId)
  await subscriptions(one, [messageId], 1)
  await one.app.journal.recordEvent(messageId, 1, 'end')
  await next.ended
  t.same(ids(next), ['0', '1'])
  await subscriptions(one, [messageId], 0)
})

t.test('viewers that come and go at the same time keep the topic while there is one', async (t) => {
  const one = await startApp(t, { redisUrl: server.url })
  const [messageId = ''] = await createMessages(one, 1)
  const last: Connection[] = []
  for (let i = 0; i < 30; i++) {
    const reader = await read(t, one, messageId)
    last.at(-1)?.cut()
    last.push(reader)
    await one.app.journal.recordEvent(messageId, i, 'answer')
    await reader.until(({ events }) => events.length === i + 1)
  }
  await viewers(one, 1)
  await subscriptions(one, [messageId], 1)
  last.at(-1)?.cut()
  await subscriptions(one, [messageId], 0)
})

t.test('what was committed while the subscriber was cut off is delivered when it is back', NEEDS_REAL_REDIS, async (t) => {
  const one = await startApp(t, { redisUrl: server.url })
  const messageIds = await createMessages(one, 20)
  const readers = await Promise.all(messageIds.map((messageId) => read(t, one, messageId)))
  await Promise.all(messageIds.map((messageId) => one.app.journal.recordEvent(messageId, 0, 'answer')))
  await Promise.all(readers.map((reader) => reader.until(({ events }) => events.length === 1)))
  await one.app.pg.query('insert into message_events (message_id, sequence_no, event_type) select message_id, 1, \'answer\' from messages')
  t.equal(await one.app.redis.client('KILL', 'TYPE', 'PUBSUB'), 1)
  await Promise.all(readers.map((reader) => reader.until(({ events }) => events.length === 2)))
  await Promise.all(messageIds.map((messageId) => one.app.journal.recordEvent(messageId, 2, 'end')))
  await Promise.all(readers.map(({ ended }) => ended))
  for (const reader of readers) t.same(ids(reader), ['0', '1', '2'])
})

t.test('while Redis is away a reader that comes gets what is committed, and everything once Redis is back', async (t) => {
  const one = await startApp(t, { redisUrl: server.url })
  const [messageId = '', unheard = ''] = await createMessages(one, 2)
  await one.app.journal.recordEvent(unheard, 0, 'end')
  const before = await read(t, one, messageId)
  await one.app.journal.recordEvent(messageId, 0, 'answer')
  await before.until(({ events }) => events.length === 1)
  await server.kill()
  t.ok(await one.app.journal.recordEvent(messageId, 1, 'answer'), 'recordEvent commits')
  const during = await read(t, one, messageId)
  await during.until(({ events }) => events.length === 2)
  t.ok(await one.app.journal.recordEvent(messageId, 2, 'answer'))
  const first = await read(t, one, unheard)
  await first.ended
  t.same(ids(first), ['0'], 'also of a message that had no viewer')
  await server.start()
  await Promise.all([before, during].map((reader) => reader.until(({ events }) => events.length === 3)))
  while (one.app.redis.status !== 'ready') await new Promise((resolve) => { setImmediate(resolve) })
  await one.app.journal.recordEvent(messageId, 3, 'end')
  await Promise.all([before.ended, during.ended])
  t.same([ids(before), ids(during)], [['0', '1', '2', '3'], ['0', '1', '2', '3']])
})

/** Waits until so many viewers are open. */
async function viewers ({ app }: TestApp, expected: number): Promise<void> {
  while (app.journal.stats().viewers !== expected) await new Promise((resolve) => { setImmediate(resolve) })
}
