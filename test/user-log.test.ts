import { randomUUID } from 'node:crypto'
import { test, type Test } from 'tap'
import { createUserFrames, UNKNOWN, type UserLogOptions } from '../plugin/user-log.js'
import { startClient } from './helper/redis-client.js'
import { ids } from './helper/sse.js'
import { parsed, startUser, streamKey, truncated } from './helper/user.js'

const HOUR_MS = 3_600_000

/** A user's stream as it stands in Redis, and what reads it. */
async function startLog (t: Test, options: Partial<UserLogOptions> = {}) {
  const { redis } = await startClient(t)
  const user = randomUUID()
  const key = streamKey({ user })
  const log = createUserFrames(redis, { eventNames: false, replayMaxAgeHours: 0, replayMaxPerRequest: 200, ...options }).log(user)
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
      const page = await log.read(cursor)
      const frames = page.frames.toString().split('\n\n').filter((frame) => frame !== '')
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
  const reader = await startUser(t, { replayMaxAgeHours: 1, reconcileMs: 20, keepaliveMs: 50 })
  await reader.app.redis.xadd(streamKey(reader), hoursAgo(2), 'event', '{"type":"old"}')
  const connection = await reader.open('nonsense')
  await connection.until(({ comments }) => comments.filter((comment) => comment === 'keepalive').length >= 4)
  const id = await reader.publish('new')
  await connection.until(({ events }) => events.some((event) => event.id === id))
  t.same(parsed(connection)[0], truncated(null))
  t.same(ids(connection), [undefined, id])
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

test('positions are compared as numbers, and the one of a reader who says nothing stands before all', async (t) => {
  const { log } = await startLog(t)
  const sign = (a: string, b: string) => Math.sign(log.compare(a, b))
  t.same([sign('9-0', '10-0'), sign('10-2', '10-10'), sign('10-10', '10-2'), sign('5-5', '5-5')], [-1, -1, 1, 0])
  t.same([sign(UNKNOWN, '0-0'), sign('0-0', UNKNOWN), sign(UNKNOWN, UNKNOWN)], [-1, 1, 0])
})
