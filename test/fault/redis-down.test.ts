import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { askRedis } from '../../servers/redis.js'
import { startApp } from '../helper/app.js'
import { arrivals, eventsOf, has, longestDelay, makeMessage, recordSteadily, upTo } from '../helper/journal.js'
import { freeze, ownRedis, thaw } from '../helper/servers.js'
import { connect, ids, type Connection } from '../helper/sse.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'

const EVERY_MS = 20
/** With this, what is found without Redis is found by polling, not by the usual tick. */
const RECONCILE_MS = 60_000
const OUTAGE_MS = 2_500

/** An open reader of a message that is written to all the while. */
async function startWriting (t: Test, redisUrl: string) {
  const started = await startApp(t, { redisUrl, reconcileMs: RECONCILE_MS })
  const messageId = await makeMessage(started.databaseUrl)
  const path = `${started.url}/api/messages/${messageId}/events`
  const reader = await connect(t, path)
  const arrivedAt = arrivals(reader)
  const writer = recordSteadily(started.app.journal.recordEvent, messageId, EVERY_MS)
  await reader.until(has(10))
  return { ...started, messageId, path, reader, arrivedAt, writer }
}

type Writing = Awaited<ReturnType<typeof startWriting>>

/** Ends the message and checks what each of the readers got. */
async function finish (t: Test, { app, databaseUrl, messageId, writer, arrivedAt }: Writing, readers: Connection[], fault: string): Promise<void> {
  const recorded = await writer.stop()
  t.ok(recorded.every((committed) => committed), 'recordEvent committed each event')
  t.equal(await app.journal.recordEvent(messageId, recorded.length, 'end', { type: 'end' }), true)
  for (const reader of readers) {
    await reader.ended
    t.same(ids(reader), upTo(recorded.length + 1), 'the reader has every event once, in order')
  }
  t.equal((await eventsOf(databaseUrl, messageId)).length, recorded.length + 1)
  t.comment(`${fault}: ${recorded.length} events, longest time from commit to delivery ${longestDelay(writer.committedAt, arrivedAt)} ms`)
}

t.test('Redis is killed and comes back: nobody is disconnected, and nothing is lost or doubled', async (t) => {
  const redis = await ownRedis(t)
  const writing = await startWriting(t, redis.url)
  await redis.kill()
  const before = writing.reader.events.length
  await writing.reader.until(has(before + 50)) // while there is no Redis
  const newcomer = await connect(t, writing.path)
  await newcomer.until(has(before + 60))
  await delay(OUTAGE_MS - 1_200) // the length of the outage is the fault
  await redis.start()
  // The subscriber is back before the publisher: what is recorded last reaches nobody, and nothing follows that reveals it.
  while (!/:1\r\n/.test(await askRedis(redis.url, 'PUBSUB', 'NUMSUB', `channel:${writing.messageId}`))) await delay(10)
  const recorded = await writing.writer.stop()
  await writing.reader.until(has(recorded.length))
  await finish(t, writing, [writing.reader, newcomer], 'Redis killed')
})

t.test('Redis is frozen: recordEvent is not held back, open readers and new ones are served', async (t) => {
  const redis = await ownRedis(t)
  const writing = await startWriting(t, redis.url)
  freeze(redis)
  const before = writing.reader.events.length
  // Each of these settles although Redis answers nothing.
  const first = writing.writer.count
  await writing.reader.until(has(before + 50))
  const newcomer = await connect(t, writing.path)
  await newcomer.until(has(first + 50))
  await delay(500)
  thaw(redis)
  await writing.reader.until(has(writing.writer.count + 50))
  await finish(t, writing, [writing.reader, newcomer], 'Redis frozen')
})

t.test('a message that begins and ends while Redis is frozen is read to its end', async (t) => {
  const redis = await ownRedis(t)
  const { app, url } = await startApp(t, { redisUrl: redis.url, reconcileMs: RECONCILE_MS })
  freeze(redis)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const reader = await connect(t, `${url}/api/messages/${message.messageId}/events`)
  for (let no = 0; no < 5; no++) t.equal(await message.record('answer', { no }), true)
  t.equal(await message.end(), true)
  await reader.ended
  t.same(ids(reader), upTo(6))
  thaw(redis) // @fastify/redis says QUIT when the app closes, and waits for the answer
})

t.test('CLIENT KILL TYPE pubsub: the subscriber comes back by itself', NEEDS_REAL_REDIS, async (t) => {
  const redis = await ownRedis(t)
  const writing = await startWriting(t, redis.url)
  for (let kills = 0; kills < 3; kills++) {
    t.match(await askRedis(redis.url, 'CLIENT', 'KILL', 'TYPE', 'pubsub'), /^:1\r\n/, 'one subscriber connection a process')
    await writing.reader.until(has(writing.writer.count + 20))
  }
  await finish(t, writing, [writing.reader], 'CLIENT KILL TYPE pubsub')
})

t.test('CLIENT KILL TYPE normal: the publisher comes back by itself', NEEDS_REAL_REDIS, async (t) => {
  const redis = await ownRedis(t)
  const writing = await startWriting(t, redis.url)
  await askRedis(redis.url, 'CLIENT', 'KILL', 'TYPE', 'normal')
  await writing.reader.until(has(writing.writer.count + 20))
  await finish(t, writing, [writing.reader], 'CLIENT KILL TYPE normal')
})

t.test('a half-open link to Redis is given up for a new one', async (t) => {
  const redis = await ownRedis(t)
  const proxy = await startTcpProxy(t, redis.url)
  const writing = await startWriting(t, proxy.url)
  const subscribers = async () => await askRedis(redis.url, 'PUBSUB', 'NUMSUB', `channel:${writing.messageId}`)
  t.match(await subscribers(), /:1\r\n/)
  proxy.stallOpen() // the links that are open now never carry a byte again
  const stalledAt = writing.writer.count
  await writing.reader.until(has(stalledAt + 50))
  t.ok(writing.writer.count < stalledAt + 200, `the journal was polled long before that, ${writing.writer.count - stalledAt} events after the link was dead`)
  while (!/:2\r\n/.test(await subscribers())) await delay(100) // the old one, of which Redis knows no better, and the new one
  await writing.reader.until(has(writing.writer.count + 20))
  // The app's own client says QUIT when the app closes, and waits for the answer.
  proxy.set('toServer', 'flow')
  proxy.set('toClient', 'flow')
  await finish(t, writing, [writing.reader], 'half-open link to Redis')
})
