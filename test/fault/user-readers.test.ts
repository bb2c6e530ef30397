import http from 'node:http'
import t, { type Test } from 'tap'
import { startAppProcess } from '../helper/app-process.js'
import { eventually, has } from '../helper/journal.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'
import { freeze, ownRedis, thaw } from '../helper/servers.js'
import { ids, type Connection } from '../helper/sse.js'
import { parsed, publishMany, startUser, streamKey, truncated, type User } from '../helper/user.js'

/** More than the kernel's buffers take, so that a socket whose reader stops is blocked. */
const LARGE = { count: 2_200, padding: 'x'.repeat(10_000) }
const MANY = { notifications: { streamMaxEntries: 10_000, replayMaxPerRequest: 10_000 } }

async function publishLarge (user: User): Promise<string[]> {
  const published: string[] = []
  for (let n = 0; n < LARGE.count; n += 100) published.push(...await publishMany(user, 100, { padding: LARGE.padding }))
  return published
}

/** Stops reading. What has come by then is shown; what the kernel holds comes when it goes on. */
async function blocked ({ response }: Connection, user: User): Promise<void> {
  response.pause()
  await eventually(() => isBlocked(user))
}

/** Whether a response of the app waits for its socket. */
function isBlocked ({ blockedResponses }: { blockedResponses?: () => number } & User): boolean {
  return (blockedResponses?.() ?? 0) > 0
}

/** An app that tells how many of its responses wait for their sockets. */
async function startWatched (t: Test, options: Parameters<typeof startUser>[1] = {}) {
  const responses = new Set<http.ServerResponse>()
  const user = await startUser(t, {
    ...options,
    extend: (app) => {
      app.addHook('onRequest', async (_request, { raw }) => {
        responses.add(raw)
        raw.on('close', () => { responses.delete(raw) })
      })
    }
  })
  return { ...user, blockedResponses: () => [...responses].filter(({ writableNeedDrain }) => writableNeedDrain).length }
}

t.test('a reader that looks away while much comes gets it from the stream, once and in order', async (t) => {
  const user = await startWatched(t, MANY)
  const [slow, quick] = [await user.open(), await user.open()]
  slow.response.pause()
  const published = await publishLarge(user)
  await quick.until(has(LARGE.count))
  await eventually(() => isBlocked(user))
  t.ok(slow.events.length < LARGE.count)
  slow.response.resume()
  await slow.until(has(LARGE.count))
  published.push(await user.publish('live'))
  for (const reader of [slow, quick]) {
    await reader.until(has(published.length))
    t.same(ids(reader), published)
  }
})

t.test('what is trimmed during a replay is a notice in its place, and then what is kept', async (t) => {
  const user = await startWatched(t, MANY)
  const published = await publishLarge(user)
  const reader = await user.open(published[0])
  await reader.until(has(1))
  await blocked(reader, user)
  const [kept] = published.slice(-10)
  await user.app.redis.xtrim(streamKey(user), 'MINID', kept ?? '')
  reader.response.resume()
  await reader.until(({ events }) => events.at(-1)?.id === published.at(-1))
  const got = ids(reader)
  const before = got.indexOf(undefined)
  t.ok(before > 0 && before < LARGE.count - 10, `${before} came before it`)
  t.same(got, [...published.slice(1, before + 1), undefined, ...published.slice(-10)])
  t.same(parsed(reader)[before], truncated(kept))
})

t.test('a live reader that is slow for so long that what it missed is trimmed is told, and gets what is kept', async (t) => {
  const user = await startWatched(t, MANY)
  const reader = await user.open()
  const published = [await user.publish('first')]
  await reader.until(has(1))
  reader.response.pause()
  published.push(...await publishLarge(user))
  await eventually(() => isBlocked(user))
  const [kept] = published.slice(-10)
  await user.app.redis.xtrim(streamKey(user), 'MINID', kept ?? '')
  published.push(await user.publish('last'))
  reader.response.resume()
  await reader.until(({ events }) => events.at(-1)?.id === published.at(-1))
  const got = ids(reader)
  const before = got.indexOf(undefined)
  t.same(got, [...published.slice(0, before), undefined, ...published.slice(-11)])
  t.same(parsed(reader)[before], truncated(kept))
})

t.test('a reader that stops reading is cut after stallTimeoutMs, and goes on with its cursor', async (t) => {
  const user = await startUser(t, { ...MANY, stallTimeoutMs: 500 })
  const published = await publishLarge(user)
  const stalled = await user.open(published[0])
  const cut = stalled.ended.then(() => 'ended', () => 'cut')
  stalled.response.pause()
  await eventually(() => user.app.journal.stats().viewers === 0)
  t.match(user.app.journal.stats(), { topics: 0 })
  stalled.response.resume()
  t.equal(await cut, 'cut')
  const got = ids(stalled)
  t.ok(got.length < LARGE.count - 1)
  const again = await user.open(got.at(-1) ?? published[0])
  await again.until(has(LARGE.count - 1 - got.length))
  t.same([...got, ...ids(again)], published.slice(1))
})

t.test('a reader that never reads costs less than 1 MiB, or two pages where a notification is large', NEEDS_REAL_REDIS, async (t) => {
  const user = await startUser(t, MANY)
  const { databaseUrl } = user
  const child = await startAppProcess(t, { databaseUrl, redisUrl: process.env.TEST_REDIS_URL ?? '', notifications: { ...MANY.notifications, maxReplaysPerUser: 0 }, maxConnectionsPerUser: 0 })
  const here = { ...user, url: child.url }

  /** After the garbage is gone, and nothing more comes. */
  async function memory (viewers: number): Promise<number> {
    for (let last = Infinity; ;) {
      const now = await child.ask<{ bytes: number, viewers: number }>('/memory')
      if (now.viewers === viewers && Math.abs(now.bytes - last) < 16 * 1024) return now.bytes
      last = now.bytes
    }
  }

  for (const [count, bytes, limitBytes] of [[20_000, 1_000, 1024 * 1024], [60, 500_000, 4 * 1024 * 1024]] as const) {
    await user.app.redis.del(streamKey(user))
    const published: string[] = []
    const padding = 'x'.repeat(bytes)
    while (published.length < count) published.push(...await publishMany(user, Math.min(count, 1_000_000 / bytes), { padding }))
    const open = () => new Promise<() => void>((resolve) => {
      const request = http.get(`${here.url}/api/events`, { agent: false, headers: { 'x-user': user.user, 'last-event-id': published[0] } }, (response) => {
        response.on('error', () => {})
        resolve(() => { request.destroy() })
      })
      t.teardown(() => { request.destroy() })
    })
    const leaveFirst = await open() // what is compiled once is not the reader's cost
    await memory(1)
    leaveFirst()
    const before = await memory(0)
    const leave = [await open()]
    const one = await memory(1) - before
    while (leave.length < 10) leave.push(await open())
    const ten = await memory(10) - before
    t.comment(`${count} notifications of ${bytes} bytes; a reader that never reads: ${Math.round(one / 1024)} KiB; ten: ${Math.round(ten / 1024)} KiB`)
    t.ok(one < limitBytes)
    t.ok(ten < 10 * limitBytes)
    for (const go of leave) go()
    await memory(0)
  }
})

t.test('slots: one that is turned away or leaves while it is counted leaves none behind', NEEDS_REAL_REDIS, async (t) => {
  const redis = await ownRedis(t)
  const user = await startUser(t, { redisUrl: redis.url, maxConnectionsPerUser: 2, notifications: { maxReplaysPerUser: 1 } })
  const slots = async () => Object.values(await user.app.redis.hgetall(`user:${user.user}:slots`)).map((field) => field.split(':')[0])
  const first = await user.open('5-0')
  t.same(await slots(), ['1'])
  t.equal((await user.open('5-0')).status, 429, 'it has spent its replays')
  await eventually(async () => (await slots())[0] === '1')

  freeze(redis)
  const gone = http.get(`${user.url}/api/events`, { agent: false, headers: { 'x-user': user.user } }).on('error', () => {})
  const asked = new Promise((resolve) => { user.app.server.once('request', resolve) })
  await asked
  gone.destroy()
  await eventually(async () => await new Promise((resolve) => { user.app.server.getConnections((_error, count) => { resolve(count === 1) }) }))
  thaw(redis)
  await eventually(async () => (await slots())[0] === '1')

  const second = await user.open()
  t.equal(second.status, 200)
  const third = await user.open()
  await third.ended
  t.match(JSON.parse(third.raw), { statusCode: 429, code: 'FST_JOURNAL_TOO_MANY_CONNECTIONS' })
  for (const { cut } of [first, second]) cut()
  await eventually(async () => (await slots()).length === 0)
  t.match(user.app.journal.stats(), { viewers: 0, topics: 0 })
})

t.test('app.close() in the middle of everything: readers come back elsewhere with their cursors, and nothing is lost', async (t) => {
  const user = await startWatched(t, MANY)
  const other = await startUser(t, { ...MANY, databaseUrl: user.databaseUrl, migrate: false })
  const elsewhere: User = { ...other, user: user.user, open: async (cursor) => await user.open(cursor, { url: other.url }) }
  const published = await publishLarge(user)
  const live = await user.open(published.at(-2))
  await live.until(has(1))
  const slow = await user.open(published[0])
  slow.response.pause()
  await eventually(() => isBlocked(user))
  const replaying = await user.open(published[0])
  await replaying.until(has(1))
  const last = user.publish('last')
  const newcomer = user.open(published[0]).catch(() => null)
  const closing = performance.now()
  await user.app.close()
  t.comment(`closed in ${Math.round(performance.now() - closing)} ms`)
  published.push(await last)
  t.equal(await user.app.journal.publishUserEvent(user.user, 'too late'), null)

  await live.ended
  t.equal(live.retries.length, 2)
  const paused = slow.ended.catch(() => 'cut')
  slow.response.resume()
  for (const reader of [live, slow, replaying, await newcomer]) {
    if (reader === null || reader.status !== 200) continue
    await (reader === slow ? paused : reader.ended.catch(() => {}))
    const got = ids(reader)
    const start = reader === live ? LARGE.count - 1 : 1
    t.same(got, published.slice(start, start + got.length))
    const again = await elsewhere.open(got.at(-1) ?? published[0])
    await again.until(({ events }) => events.at(-1)?.id === published.at(-1))
    t.same([...got, ...ids(again)], published.slice(start))
  }
})
