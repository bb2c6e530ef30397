import http from 'node:http'
import type { FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { RENEW_MS } from '../../routes/connection-limit.js'
import { startApp, type TestAppOptions } from '../helper/app.js'
import { startAppProcess } from '../helper/app-process.js'
import { hurryTimers } from '../helper/clock.js'
import { eventually, makeMessage } from '../helper/journal.js'
import { startClient } from '../helper/redis-client.js'
import { freeze, ownRedis, thaw } from '../helper/servers.js'
import { connect } from '../helper/sse.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'

/** The option's default. */
const MAX = 8

/** A Redis client that is not the app's. */
async function redisClient (t: Test, url: string, options = {}) {
  return (await startClient(t, url, options)).redis
}

async function start (t: Test, options: TestAppOptions = {}) {
  const { url: redisUrl } = options.redisUrl === undefined ? await ownRedis(t) : { url: options.redisUrl }
  const started = await startApp(t, { ...options, redisUrl })
  const messageId = await makeMessage(started.databaseUrl)
  const path = `${started.url}/api/messages/${messageId}/events`
  return { ...started, redisUrl, messageId, path, open: async (user = 'ada') => await connect(t, path, { user }) }
}

const readAll = { authorize: () => true }

t.test('the ninth stream of a user is turned away with Retry-After; another user is not; a stream that ends makes room', async (t) => {
  const { open, redisUrl } = await start(t, { ...readAll, maxConnectionsPerUser: MAX })
  const client = await redisClient(t, redisUrl)
  const readers = await Promise.all(Array.from({ length: MAX }, async () => await open()))
  t.same(readers.map(({ status }) => status), readers.map(() => 200))
  const [slots] = Object.values(await client.hgetall('user:ada:slots'))
  t.match(slots, /^8:\d+$/)

  const ninth = await open()
  await ninth.ended
  t.equal(ninth.status, 429)
  t.match(JSON.parse(ninth.raw), { code: 'FST_JOURNAL_TOO_MANY_CONNECTIONS' })
  t.match(ninth.response.headers['retry-after'], /^[1-9]$/)
  t.equal((await open('eve')).status, 200)

  readers[0]?.cut()
  await eventually(async () => Object.values(await client.hgetall('user:ada:slots'))[0]?.startsWith('7:') === true)
  t.equal((await open()).status, 200)
})

t.test('in-band: the ninth gets 200, a busy event without id and a jittered retry', async (t) => {
  const { open } = await start(t, { ...readAll, overload: 'in-band', maxConnectionsPerUser: 1 })
  t.equal((await open()).status, 200)
  const busy = await open()
  await busy.ended
  t.equal(busy.status, 200)
  t.match(busy.response.headers, { 'content-type': 'text/event-stream', 'cache-control': 'no-store, no-transform' })
  t.match(busy.events, [{ event: 'busy', id: undefined, data: /^\{"type":"busy"/ }])
  t.equal(busy.retries.length, 1)
})

t.test('a user\'s streams are counted over all processes, and refused tries do not keep anything full', async (t) => {
  const one = await start(t, { maxConnectionsPerUser: 2 })
  const two = await startApp(t, { databaseUrl: one.databaseUrl, redisUrl: one.redisUrl, migrate: false, maxConnectionsPerUser: 2 })
  const path = `${two.url}/api/messages/${one.messageId}/events`
  const first = await one.open()
  t.equal((await connect(t, path)).status, 200)
  for (let tries = 0; tries < 5; tries++) {
    t.equal((await one.open()).status, 429)
    t.equal((await connect(t, path)).status, 429)
  }
  const client = await redisClient(t, one.redisUrl)
  first.cut()
  await eventually(async () => await client.hlen('user:ada:slots') === 1)
  t.equal((await connect(t, path)).status, 200)
})

t.test('the slots of a process that was killed run out in less than 60 s', async (t) => {
  const one = await start(t, { maxConnectionsPerUser: 1 })
  const client = await redisClient(t, one.redisUrl)
  const other = await startAppProcess(t, { databaseUrl: one.databaseUrl, redisUrl: one.redisUrl, maxConnectionsPerUser: 1 })
  t.equal((await connect(t, `${other.url}/api/messages/${one.messageId}/events`)).status, 200)
  t.equal((await one.open()).status, 429)
  await other.kill()
  t.equal((await one.open()).status, 429, 'for the moment')

  const [[process, slots] = ['', '']] = Object.entries(await client.hgetall('user:ada:slots'))
  const [seconds, microseconds] = await client.time()
  const left = Number(slots.split(':')[1]) - (Number(seconds) * 1_000 + Number(microseconds) / 1_000)
  t.ok(left > 0 && left < 60_000, 'the time that its field has left')
  t.ok(await client.pttl('user:ada:slots') < 60_000, 'and the key\'s')
  // The wait itself is not waited for: the field is dated back by it.
  await client.hset('user:ada:slots', process, `1:${Number(slots.split(':')[1]) - Math.ceil(left)}`)
  t.equal((await one.open()).status, 200)
  t.equal(await client.hexists('user:ada:slots', process), 0, 'what has run out is cleared')
})

t.test('a field that is not ours to read is dropped, and locks nobody out', async (t) => {
  const { open, redisUrl } = await start(t, { maxConnectionsPerUser: 1 })
  const client = await redisClient(t, redisUrl)
  await client.hset('user:ada:slots', 'somebody', 'nonsense')
  t.equal((await open()).status, 200)
  t.equal(await client.hexists('user:ada:slots', 'somebody'), 0)
})

t.test('nobody is turned away because Redis is: killed, frozen, or with a key of another type', async (t) => {
  const server = await ownRedis(t)
  const { open } = await start(t, { redisUrl: server.url, maxConnectionsPerUser: 1 })
  const client = await redisClient(t, server.url)
  await client.set('user:ada:slots', 'not a hash')
  for (let streams = 0; streams < 2; streams++) t.equal((await open()).status, 200)
  freeze(server)
  t.equal((await open()).status, 200)
  thaw(server)
  await server.kill()
  t.equal((await open()).status, 200)
  await server.start()
})

t.test('a client of the app that takes numbers for texts counts all the same', async (t) => {
  const server = await ownRedis(t)
  const client = await redisClient(t, server.url, { stringNumbers: true })
  const { url, open } = await start(t, { redisClient: client, redisUrl: server.url, maxConnectionsPerUser: 1, notifications: { maxReplaysPerUser: 1 } })
  t.equal((await open()).status, 200)
  t.equal((await open()).status, 429)

  const replay = async () => await connect(t, `${url}/api/events`, { user: 'eve', headers: { 'last-event-id': '1-0' } })
  const first = await replay()
  t.equal(first.status, 200)
  first.cut()
  await eventually(async () => (await client.hvals('user:eve:slots')).length === 0)
  t.equal((await replay()).status, 429)
})

t.test('a Redis that has forgotten everything is told again of the streams that are open', async (t) => {
  hurryTimers(t, RENEW_MS, 50)
  const { open, redisUrl } = await start(t, { maxConnectionsPerUser: 2 })
  const client = await redisClient(t, redisUrl)
  await Promise.all([open(), open()])
  await client.flushall()
  await eventually(async () => Object.values(await client.hgetall('user:ada:slots'))[0]?.startsWith('2:') === true)
  t.equal((await open()).status, 429)
})

t.test('a client that leaves while its slot is being taken leaves no slot behind', NEEDS_REAL_REDIS, async (t) => {
  const server = await ownRedis(t)
  const { app, path } = await start(t, { redisUrl: server.url, maxConnectionsPerUser: 1 })
  const client = await redisClient(t, server.url)
  const asked = new Promise((resolve) => {
    app.redis.call = new Proxy(app.redis.call, {
      apply (target, self, args) {
        resolve(undefined)
        return Reflect.apply(target, self, args)
      }
    })
  })
  freeze(server)
  const request = http.get(path, { agent: false, headers: { 'x-user': 'ada' } }).on('error', () => {})
  await asked
  request.destroy()
  await eventually(async () => await connections(app) === 0)
  thaw(server)
  await eventually(async () => await client.exists('user:ada:slots') === 0)
  t.equal(app.journal.stats().viewers, 0)
  t.equal((await connect(t, path)).status, 200)
})

async function connections ({ server }: FastifyInstance): Promise<number> {
  return await new Promise((resolve, reject) => {
    server.getConnections((error, count) => { error === null ? resolve(count) : reject(error) })
  })
}

t.test('maxConnectionsPerUser 0: any number of streams, and nothing is counted', async (t) => {
  const { open, redisUrl } = await start(t, { maxConnectionsPerUser: 0 })
  const client = await redisClient(t, redisUrl)
  const readers = await Promise.all(Array.from({ length: 2 * MAX }, async () => await open()))
  t.same(readers.map(({ status }) => status), readers.map(() => 200))
  t.equal(await client.exists('user:ada:slots'), 0)
})

t.test('after all streams are closed nothing is left in Redis', async (t) => {
  const { app, open, redisUrl } = await start(t, { ...readAll, maxConnectionsPerUser: MAX })
  const client = await redisClient(t, redisUrl)
  await Promise.all([open(), open(), open('eve')])
  await app.close()
  t.same(await client.keys('*'), [])
})
