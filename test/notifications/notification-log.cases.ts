import { randomUUID } from 'node:crypto'
import { test, type Test } from 'tap'
import { createNotificationLog, UNKNOWN, type UserLogOptions } from '../../plugin/notifications/notification-log.js'
import { has } from '../helper/journal.js'
import { startClient } from '../helper/redis-client.js'
import { ids } from '../helper/sse.js'
import { parsed, publishMany, startUser, streamKey, truncated } from '../helper/user.js'

const HOUR_MS = 3_600_000

/** A user's stream as it stands in Redis, and what reads it. */
async function startLog (t: Test, options: Partial<UserLogOptions> = {}) {
  const { redis } = await startClient(t)
  const user = randomUUID()
  const key = streamKey({ user })
  const { log } = createNotificationLog(redis, { eventNames: false, replayMaxAgeHours: 0, replayMaxPerRequest: 200, ...options })
  return {
    redis,
    key,
    log,
    add: async (id: string, text = '{"type":"any"}') => {
      await redis.xadd(key, id, 'event', text)
      return id
    },
    /** The ids of the frames of the next page, `notice` for a frame without one; and where the page ends. */
    async read (cursor: string) {
      const page = await log.read(user, cursor, false, false)
      const frames = page.frames.join('').split('\n\n').filter((frame) => frame !== '')
      return { ids: frames.map((frame) => /^id: (.*)$/m.exec(frame)?.[1] ?? 'notice'), last: page.last, complete: page.complete, rows: page.rows }
    }
  }
}

function hoursAgo (hours: number): string {
  return `${Date.now() - hours * HOUR_MS}-0`
}

test('a reader for whom everything is too old stands behind it, and is told once', async (t) => {
  const { add, read } = await startLog(t, { replayMaxAgeHours: 1 })
  const [oldest, newest] = [await add(hoursAgo(3)), await add(hoursAgo(2))]
  t.match(await read(UNKNOWN), { ids: ['notice'], last: newest, complete: true })
  t.match(await read(oldest), { ids: ['notice'], last: newest, complete: true })
  t.match(await read(newest), { ids: [], last: newest })
  const next = await add(hoursAgo(0))
  t.match(await read(newest), { ids: [next] })
})

test('a reader for whom everything is too old is not told again by the reconciliation', async (t) => {
  const reader = await startUser(t, { notifications: { replayMaxAgeHours: 1 }, reconcileMs: 20, keepaliveMs: 50 })
  await reader.app.redis.xadd(streamKey(reader), hoursAgo(2), 'event', '{"type":"old"}')
  const connection = await reader.open('nonsense')
  await connection.until(({ comments }) => comments.filter((comment) => comment === 'keepalive').length >= 4)
  const id = await reader.publish('new')
  await connection.until(({ events }) => events.some((event) => event.id === id))
  t.same(parsed(connection)[0], truncated(null))
  t.same(ids(connection), [undefined, id])
})

test('entries that no reader is shown do not use up what a response may replay', async (t) => {
  const reader = await startUser(t, { notifications: { replayMaxPerRequest: 5 } })
  const first = await reader.publish('first')
  for (let n = 0; n < 17; n++) await reader.app.redis.xadd(streamKey(reader), '*', 'other', 'x')
  const shown = await publishMany(reader, 5)
  const connection = await reader.open(first)
  await connection.until(has(5))
  shown.push(await reader.publish('live'))
  await connection.until(has(6))
  t.same(ids(connection), shown)
})

test('a page ends early where its entries are large, and the next one goes on behind it', async (t) => {
  const { add, read } = await startLog(t)
  const text = JSON.stringify({ padding: 'x'.repeat(100_000) })
  const added: string[] = []
  for (let n = 1; n <= 8; n++) added.push(await add(`${n}-0`, text))
  const first = await read('0-1')
  t.same(first, { ids: ['notice', '1-0', '2-0', '3-0'], last: '3-0', complete: false, rows: 3 })
  const second = await read(first.last)
  t.same(second, { ids: ['4-0', '5-0', '6-0'], last: '6-0', complete: false, rows: 3 })
  t.same(await read(second.last), { ids: ['7-0', '8-0'], last: '8-0', complete: true, rows: 2 })
  await add('9-0', JSON.stringify({ padding: 'x'.repeat(1_000_000) }))
  t.same(await read('8-0'), { ids: ['9-0'], last: '9-0', complete: true, rows: 1 }, 'one that is larger than a page comes all the same')
})

test('an entry that is added while a reader is being told of its loss is not lost, and it is told once', async (t) => {
  const { redis, add, read } = await startLog(t)
  const call = redis.call.bind(redis)
  let looks = 0
  redis.call = new Proxy(redis.call, {
    async apply (_target, _self, args: Parameters<typeof call>) {
      const answer = await call(...args)
      if (++looks === 1) await add('7-0') // the stream was empty when it was looked at first
      return answer
    }
  })
  const page = await read('5-0')
  t.match(page, { ids: ['notice', '7-0'], last: '7-0' })
  t.match(await read(page.last), { ids: [] })
})

test('a reader that has nothing, by its cursor, is told when what it would have had is not all there', async (t) => {
  const reader = await startUser(t)
  const kept = await publishMany(reader, 2)
  for (const cursor of ['0', '0-0']) {
    const connection = await reader.open(cursor)
    await connection.until(has(3))
    t.same(parsed(connection)[0], truncated(kept[0]))
    t.same(ids(connection), [undefined, ...kept])
  }
})

test('positions are compared as numbers, and the one of a reader who says nothing stands before all', async (t) => {
  const { log } = await startLog(t)
  const sign = (a: string, b: string) => Math.sign(log.compare(a, b))
  t.same([sign('9-0', '10-0'), sign('10-2', '10-10'), sign('10-10', '10-2'), sign('5-5', '5-5')], [-1, -1, 1, 0])
  t.same([sign(UNKNOWN, '0-0'), sign('0-0', UNKNOWN), sign(UNKNOWN, UNKNOWN)], [-1, 1, 0])
})

test('a cursor that says nothing, where there is nothing: the reader is told, and begins at the start', async (t) => {
  const { read } = await startLog(t)
  t.match(await read(UNKNOWN), { ids: ['notice'], last: '0-0', complete: true, rows: 0 })
})

test('an entry never follows another one for certain: something may have been added between', async (t) => {
  const { log } = await startLog(t)
  t.equal(log.isNext('1-0', '1-1'), false)
})
