import t, { type Test } from 'tap'
import { askRedis, type RedisServer } from '../../servers/redis.js'
import { hurryTimers } from '../helper/clock.js'
import { eventually, has } from '../helper/journal.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'
import { freeze, ownRedis, thaw } from '../helper/servers.js'
import { ids, type Connection } from '../helper/sse.js'
import { parsed, publishMany, startUser, streamKey, truncated, type User } from '../helper/user.js'

/** With this, what is found without Redis' announcements is found by polling, not by the usual tick. */
const RECONCILE_MS = 60_000
const EVERY_MS = 15
/** How long a read waits for Redis. */
const ANSWER_TIMEOUT_MS = 2_000

/** Publishes at a steady rate, whatever becomes of it, until it is stopped; resolves with the ids of those that were added. */
function publishSteadily ({ app, user }: User) {
  const results: Array<Promise<string | null>> = []
  const timer = setInterval(() => {
    results.push(app.journal.publishUserEvent(user, 'counted', { n: results.length }))
  }, EVERY_MS)
  return {
    get count () { return results.length },
    async stop (): Promise<string[]> {
      clearInterval(timer)
      return (await Promise.all(results)).filter((id) => id !== null)
    }
  }
}

async function stored (user: User): Promise<string[]> {
  return (await user.app.redis.xrange(streamKey(user), '-', '+')).map(([id]) => id)
}

async function ready ({ app }: User): Promise<void> {
  await eventually(() => app.redis.status === 'ready')
}

/** Publishes to a Redis that may not be back yet. */
async function publishOnce (user: User, type: string): Promise<string> {
  let id: string | null = null
  while (id === null) {
    await ready(user)
    id = await user.app.journal.publishUserEvent(user.user, type)
  }
  return id
}

/** Everything that is in the stream, and everything that was acknowledged, exactly once and in order. */
async function check (t: Test, user: User, acknowledged: string[], readers: Connection[]): Promise<void> {
  const entries = await stored(user)
  t.same(acknowledged.filter((id) => !entries.includes(id)), [], 'what was acknowledged is there')
  for (const reader of readers) {
    await reader.until(({ events }) => events.at(-1)?.id === entries.at(-1))
    t.same(ids(reader), entries)
  }
}

async function crash (redis: RedisServer, whileAway: () => Promise<void> = async () => {}): Promise<void> {
  await redis.kill()
  await whileAway()
  await redis.start()
}

for (const fsync of ['always', 'everysec'] as const) {
  t.test(`Redis is killed and comes back with what it had (appendfsync ${fsync}): nobody is disconnected, nothing is lost or doubled`, NEEDS_REAL_REDIS, async (t) => {
    const redis = await ownRedis(t, fsync)
    const user = await startUser(t, { redisUrl: redis.url, reconcileMs: RECONCILE_MS })
    const readers = [await user.open(), await user.open()]
    const publishing = publishSteadily(user)
    for (const reader of readers) await reader.until(has(10))
    await crash(redis, async () => {
      await eventually(() => user.app.redis.status !== 'ready')
      const before = publishing.count
      await eventually(() => publishing.count > before + 10) // they are lost, and their callers are told
    })
    await ready(user)
    for (const reader of readers) await reader.until(has(reader.events.length + 10))
    const acknowledged = await publishing.stop()
    acknowledged.push(await publishOnce(user, 'last'))
    await check(t, user, acknowledged, readers)
  })
}

t.test('Redis is killed and has forgotten everything: readers are told, and get what comes', NEEDS_REAL_REDIS, async (t) => {
  const redis = await ownRedis(t)
  const user = await startUser(t, { redisUrl: redis.url, reconcileMs: RECONCILE_MS })
  const before = await publishMany(user, 5)
  const live = await user.open()
  const replayed = await user.open(before[2])
  await replayed.until(has(2))
  const idle = await user.open() // has never had an event
  await crash(redis)
  for (const reader of [live, replayed, idle]) await reader.until(({ events }) => events.some(({ data }) => data.includes('backlog.truncated')))
  const id = await publishOnce(user, 'next')
  await Promise.all([live.until(has(2)), idle.until(has(2)), replayed.until(has(4))])
  t.same(parsed(live)[0], truncated(null))
  t.same(ids(live), [undefined, id])
  t.same(ids(idle), [undefined, id])
  t.same(ids(replayed), [...before.slice(3), undefined, id])

  const back = await user.open(before[4])
  await back.until(has(2))
  t.same(parsed(back)[0], truncated(id))
  t.same(ids(back), [undefined, id])
})

t.test('a user who had nothing when Redis forgot everything has lost nothing, and is told nothing', NEEDS_REAL_REDIS, async (t) => {
  const redis = await ownRedis(t)
  const user = await startUser(t, { redisUrl: redis.url, reconcileMs: RECONCILE_MS })
  const reader = await user.open()
  await crash(redis)
  const id = await publishOnce(user, 'first')
  await reader.until(has(1))
  t.same(ids(reader), [id])
})

t.test('a Redis that has lost its newest entries: the reader is told, goes on behind what is left, and gets nothing twice', NEEDS_REAL_REDIS, async (t) => {
  const redis = await ownRedis(t)
  const user = await startUser(t, { redisUrl: redis.url, reconcileMs: RECONCILE_MS })
  const kept = await publishMany(user, 3)
  const reader = await user.open(kept[0])
  const lost = await publishMany(user, 2)
  await reader.until(has(4))
  await user.app.redis.xdel(streamKey(user), ...lost) // as a replica that is behind has it, or a file that was not written yet
  await askRedis(redis.url, 'CLIENT', 'KILL', 'TYPE', 'pubsub')
  await reader.until(has(5))
  t.same(parsed(reader)[4], truncated(kept[0]))
  const next = await publishMany(user, 2)
  await reader.until(has(7))
  t.same(ids(reader), [...kept.slice(1), ...lost, undefined, ...next])
})

t.test('CLIENT KILL TYPE pubsub: the subscriber comes back by itself, and nothing is lost', NEEDS_REAL_REDIS, async (t) => {
  const redis = await ownRedis(t)
  const user = await startUser(t, { redisUrl: redis.url, reconcileMs: RECONCILE_MS })
  const readers = [await user.open(), await user.open()]
  const publishing = publishSteadily(user)
  for (let kills = 0; kills < 3; kills++) {
    t.match(await askRedis(redis.url, 'CLIENT', 'KILL', 'TYPE', 'pubsub'), /^:1\r\n/, 'one subscriber connection for all readers')
    for (const reader of readers) await reader.until(has(publishing.count + 10))
  }
  await check(t, user, await publishing.stop(), readers)
})

t.test('CLIENT KILL TYPE normal: the publisher comes back by itself; what it had sent is added once or twice, and read as it is', NEEDS_REAL_REDIS, async (t) => {
  const redis = await ownRedis(t)
  const user = await startUser(t, { redisUrl: redis.url, reconcileMs: RECONCILE_MS })
  const reader = await user.open()
  const publishing = publishSteadily(user)
  for (let kills = 0; kills < 3; kills++) {
    await askRedis(redis.url, 'CLIENT', 'KILL', 'TYPE', 'normal')
    await reader.until(has(reader.events.length + 10))
  }
  const acknowledged = await publishing.stop()
  acknowledged.push(await publishOnce(user, 'last'))
  await check(t, user, acknowledged, [reader])
})

t.test('Redis is frozen: open readers stay, and have everything when it is back', NEEDS_REAL_REDIS, async (t) => {
  const redis = await ownRedis(t)
  const user = await startUser(t, { redisUrl: redis.url, reconcileMs: RECONCILE_MS })
  const readers = [await user.open(), await user.open()]
  const publishing = publishSteadily(user)
  for (const reader of readers) await reader.until(has(10))
  freeze(redis)
  const before = publishing.count
  await eventually(() => publishing.count > before + 100) // more than a second
  thaw(redis)
  await ready(user)
  for (const reader of readers) await reader.until(has(before + 100))
  const acknowledged = await publishing.stop()
  acknowledged.push(await publishOnce(user, 'last'))
  await check(t, user, acknowledged, readers)
})

for (const [state, cause, mend] of [
  ['frozen', async (redis: RedisServer) => { freeze(redis) }, async (redis: RedisServer) => { thaw(redis) }],
  ['away', async (redis: RedisServer) => { await redis.kill() }, async (redis: RedisServer) => { await redis.start() }]
] as const) {
  t.test(`while Redis is ${state}, new readers are asked to come back, and leave nothing behind`, NEEDS_REAL_REDIS, async (t) => {
    const redis = await ownRedis(t)
    const byStatus = await startUser(t, { redisUrl: redis.url, maxConnectionsPerUser: 2 })
    const inBand = await startUser(t, { redisUrl: redis.url, maxConnectionsPerUser: 2, overload: 'in-band' })
    const message = await byStatus.app.journal.openMessage({ userId: byStatus.user })
    const open = await byStatus.open()
    await open.until(({ comments }) => comments[0] === 'connected')
    hurryTimers(t, ANSWER_TIMEOUT_MS, 200)
    await cause(redis)

    for (const cursor of [undefined, '5-0']) {
      const refused = await byStatus.open(cursor)
      await refused.ended
      t.equal(refused.status, 503)
      t.match(refused.response.headers['retry-after'], /^[2-6]$/)
      t.match(JSON.parse(refused.raw), { code: 'FST_JOURNAL_REDIS_UNAVAILABLE', statusCode: 503 })
      const busy = await inBand.open(cursor)
      await busy.ended
      t.equal(busy.status, 200)
      t.match(busy.response.headers, { 'content-type': 'text/event-stream', 'cache-control': 'no-store, no-transform' })
      t.match(busy.events, [{ event: 'busy', id: undefined, data: /^\{"type":"busy"/ }])
      t.ok(busy.retries.every((ms) => ms >= 2_000 && ms <= 6_000) && busy.retries.length === 1, `retry: ${busy.retries}`)
    }
    t.match(byStatus.app.journal.stats(), { viewers: 1, topics: 1 })
    t.match(inBand.app.journal.stats(), { viewers: 0, topics: 0 })
    t.equal(open.response.complete, false)
    const answer = await fetch(`${byStatus.url}/api/messages/${message.messageId}/events`, { headers: { 'x-user': byStatus.user } })
    t.equal(answer.status, 200, 'the other pipe goes on')
    await answer.body?.cancel()

    await mend(redis)
    const id = await publishOnce(byStatus, 'after')
    await open.until(({ events }) => events.at(-1)?.id === id)
    await eventually(async () => (await byStatus.open()).status === 200)
  })
}
