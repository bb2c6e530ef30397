import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import redis from '@fastify/redis'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import type { RedisServer } from '../../servers/redis.js'
import type { Message } from '../../plugin/message-handle.js'
import { NO_TICKS, startApp, type TestAppOptions } from '../helper/app.js'
import { ask, eventsOf, statusOf, upTo } from '../helper/journal.js'
import { freeze, ownRedis, thaw } from '../helper/servers.js'
import { connect, ids } from '../helper/sse.js'

const STOPPED = { type: 'end', reason: 'stopped' }

/** A producer on one node, and another node to stop it from. */
async function startTwo (t: Test, options: TestAppOptions = {}) {
  const one = await startApp(t, { ...NO_TICKS, ...options })
  const { databaseUrl } = one
  const two = await startApp(t, { ...NO_TICKS, ...options, databaseUrl, migrate: false })
  const message = await one.app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.record('answer', { no: 0 }), true)
  const path = `${two.url}/api/messages/${message.messageId}`
  return { one, two, databaseUrl, message, path }
}

async function post (url: string, user = 'ada'): Promise<Response> {
  return await fetch(url, { method: 'POST', headers: { 'x-user': user } })
}

/** Stops the message by the other node; resolves when its producer was told. */
async function stop (t: Test, { message, path }: Awaited<ReturnType<typeof startTwo>>): Promise<void> {
  const told = once(message.signal, 'abort')
  const response = await post(`${path}/stop`)
  t.equal(response.status, 202)
  t.equal(await response.text(), '')
  const answeredAt = performance.now()
  await told
  t.comment(`told ${Math.round(performance.now() - answeredAt)} ms after the answer`)
}

t.test('a stop on another node reaches the producer through Redis, and ends the message durably for its readers', async (t) => {
  const two = await startTwo(t)
  const { message, path, databaseUrl } = two
  const reader = await connect(t, `${path}/events`)
  await stop(t, two)
  t.match(message.signal.reason, { code: 'FST_JOURNAL_STOPPED' })
  t.equal(await message.record('answer', { no: 1 }), false)
  t.equal(await message.end(), false)
  await reader.ended
  t.same(ids(reader), upTo(2))
  t.same((await eventsOf(databaseUrl, message.messageId)).at(-1)?.payload, STOPPED)
  t.equal(await statusOf(databaseUrl, message.messageId), 'stopped')
})

t.test('a stop on the producer\'s own node', async (t) => {
  const two = await startTwo(t)
  await stop(t, { ...two, path: `${two.one.url}/api/messages/${two.message.messageId}` })
  t.match(two.message.signal.reason, { code: 'FST_JOURNAL_STOPPED' })
})

for (const [fault, cause] of Object.entries({ killed: async (redis: RedisServer) => await redis.kill(), frozen: async (redis: RedisServer) => freeze(redis) })) {
  t.test(`a stop while Redis is ${fault} reaches the producer within the reconciliation tick, and its readers too`, async (t) => {
    const redis = await ownRedis(t)
    const two = await startTwo(t, { redisUrl: redis.url, reconcileMs: 500 })
    const reader = await connect(t, `${two.path}/events`)
    await cause(redis)
    await stop(t, two)
    t.match(two.message.signal.reason, { code: 'FST_JOURNAL_STOPPED' })
    t.equal(await two.message.record('answer', { no: 1 }), false)
    await reader.ended
    t.same(ids(reader), upTo(2))
    t.same(JSON.parse(reader.events[1]?.data ?? ''), STOPPED)
    thaw(redis)
  })
}

for (const [what, record] of Object.entries({
  'an event': async (message: Message) => [await message.record('answer', { no: 1 })],
  'some events': async (message: Message) => await Promise.all([message.record('answer', { no: 1 }), message.record('answer', { no: 2 })]),
  'its end': async (message: Message) => [await message.end()]
})) {
  t.test(`a producer that records ${what} before the hint of a stop has come is told that it was stopped`, async (t) => {
    const redis = await ownRedis(t)
    const { message, path, one, databaseUrl } = await startTwo(t, { redisUrl: redis.url })
    await redis.kill()
    t.equal((await post(`${path}/stop`)).status, 202)
    t.ok((await record(message)).every((recorded) => !recorded))
    t.match(message.signal.reason, { code: 'FST_JOURNAL_STOPPED' })
    t.match(one.lines.find(({ sequenceNo }) => sequenceNo === 1), { msg: 'journal: an event was not recorded: the message was stopped' })
    t.same((await eventsOf(databaseUrl, message.messageId)).map(({ payload }) => payload), [{ no: 0 }, STOPPED])
  })
}

t.test('a stopped producer function ends quietly: neither an end nor an error of its own', async (t) => {
  let told: Promise<unknown> = Promise.resolve()
  const { app, url, databaseUrl, lines } = await startApp(t, {
    extend: (app) => {
      app.post('/chat', async (_request, reply) => {
        const message = await app.journal.openMessage({ userId: 'ada' })
        return reply.streamMessage(message, async ({ record, signal }) => {
          await record('answer', { no: 0 })
          told = once(signal, 'abort')
          await told
          signal.throwIfAborted()
        })
      })
    }
  })
  const reader = await connect(t, `${url}/chat`, { method: 'POST' })
  await reader.until(({ events }) => events.length === 1)
  const path = `${url}${reader.response.headers.location ?? ''}`
  t.equal((await post(path.replace(/events$/, 'stop'))).status, 202)
  await Promise.all([reader.ended, told])
  const messageId = reader.response.headers['x-message-id']?.toString() ?? ''
  t.same((await eventsOf(databaseUrl, messageId)).map(({ payload }) => payload), [{ no: 0 }, STOPPED])
  t.equal(app.journal.stats().producers, 0)
  t.notOk(lines.some(({ msg }) => msg === 'journal: a producer failed'))
})

t.test('a repeated stop, and one for a finished message, do nothing', async (t) => {
  const { one, path, message, databaseUrl } = await startTwo(t)
  t.equal((await post(`${path}/stop`)).status, 202)
  t.equal((await post(`${path}/stop`)).status, 202)
  t.equal((await eventsOf(databaseUrl, message.messageId)).length, 2)

  const finished = await one.app.journal.openMessage({ userId: 'ada' })
  t.equal(await finished.end(), true)
  t.equal((await post(`${one.url}/api/messages/${finished.messageId}/stop`)).status, 202)
  t.same((await eventsOf(databaseUrl, finished.messageId)).map(({ payload }) => payload), [{ type: 'end' }])
  t.equal(await statusOf(databaseUrl, finished.messageId), 'complete')
})

t.test('a stop\'s hint that comes late does not touch the producer that continued the message', async (t) => {
  const { one, two, message } = await startTwo(t)
  t.equal((await post(`${two.url}/api/messages/${message.messageId}/stop`)).status, 202)
  const next = await one.app.journal.openMessage({ userId: 'ada', messageId: message.messageId })
  const [row] = await ask<{ epoch: number }>(one.databaseUrl, 'select epoch from messages where message_id = $1', [message.messageId])

  const publisher = Fastify()
  t.teardown(() => publisher.close())
  await publisher.register(redis, { url: process.env.TEST_REDIS_URL ?? '' })
  for (const hint of [
    `{"message_id":"${message.messageId}","epoch":${Number(row?.epoch) - 1}}`,
    `{"message_id":"${message.messageId}","epoch":${Number(row?.epoch)}}`,
    '{"message_id":', '', 'null', `{"message_id":"${randomUUID()}","epoch":9}`
  ]) await publisher.redis.publish('journal:stop', hint)

  const other = await one.app.journal.openMessage({ userId: 'ada' })
  const told = once(other.signal, 'abort')
  t.equal((await post(`${two.url}/api/messages/${other.messageId}/stop`)).status, 202)
  await told // the hints above came before this one
  t.equal(next.signal.aborted, false)
  t.equal(await next.end(), true)
})

t.test('whose message it is, and whether it is one: 401, 400, 404', async (t) => {
  const { path, one, databaseUrl, message } = await startTwo(t)
  t.equal((await post(`${path}/stop`, '')).status, 401)
  t.equal((await post(`${one.url}/api/messages/7/stop`)).status, 400)
  const foreign = await post(`${path}/stop`, 'eve')
  const unknown = await post(`${one.url}/api/messages/${randomUUID()}/stop`, 'eve')
  t.equal(foreign.status, 404)
  t.equal(await foreign.text(), await unknown.text(), 'nobody learns whether it exists')
  t.equal(await statusOf(databaseUrl, message.messageId), 'streaming')
})
