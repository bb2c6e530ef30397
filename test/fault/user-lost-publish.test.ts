import t, { type Test } from 'tap'
import { askRedis } from '../../servers/redis.js'
import type { TestAppOptions } from '../helper/app.js'
import { eventually, has } from '../helper/journal.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'
import type { Verdict } from '../helper/resp-filter.js'
import { ownRedis } from '../helper/servers.js'
import { ids } from '../helper/sse.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'
import { publishMany, startUser, streamKey } from '../helper/user.js'

const NEVER_MS = 600_000

/** An app whose subscriber gets what `filter` lets through, and an open reader that has had one notification. */
async function startFiltered (t: Test, filter: (n: number) => Verdict, options: TestAppOptions = {}) {
  const filtered: number[] = []
  const proxy = await startTcpProxy(t, process.env.TEST_REDIS_URL ?? '', {
    filter (topic, text) {
      if (!topic.startsWith('user:')) return 'pass'
      const n = Number(/"n":(\d+)/.exec(text)?.[1])
      const verdict = filter(n)
      if (verdict !== 'pass') filtered.push(n)
      return verdict
    }
  })
  const user = await startUser(t, { redisUrl: proxy.url, reconcileMs: NEVER_MS, ...options })
  const reader = await user.open()
  const published: string[] = []
  const publish = async (n: number) => { published.push(await user.publish('counted', { n })) }
  await publish(0)
  await reader.until(has(1))
  return { ...user, reader, published, publish, filtered, proxy }
}

t.test('the next notification reveals that one was lost, and the reader gets both in order', async (t) => {
  const { reader, publish, published, filtered } = await startFiltered(t, (n) => n === 1 ? 'drop' : 'pass')
  await publish(1)
  await eventually(() => filtered.length > 0)
  await publish(2)
  await reader.until(has(3))
  t.same(ids(reader), published)
})

t.test('when none follows, the reconciliation tick finds what was lost', async (t) => {
  const { reader, publish, published, filtered } = await startFiltered(t, (n) => n > 0 ? 'drop' : 'pass', { reconcileMs: 300 })
  await publish(1)
  await publish(2)
  await reader.until(has(3))
  t.same(ids(reader), published)
  await eventually(() => filtered.length === 2)
  t.same(filtered, [1, 2])
})

t.test('two that change places on their way reach the reader in the stream\'s order, once each', async (t) => {
  const { reader, publish, published, filtered } = await startFiltered(t, (n) => n === 1 ? 'hold' : 'pass')
  await publish(1)
  await eventually(() => filtered.length > 0)
  await publish(2)
  await publish(3)
  await reader.until(has(4))
  t.same(ids(reader), published)
})

t.test('a subscriber connection that is cut subscribes again and reads every open cursor again', async (t) => {
  let lose = false
  const { reader, publish, published, proxy, filtered } = await startFiltered(t, () => lose ? 'drop' : 'pass')
  lose = true
  await publish(1)
  await eventually(() => filtered.length > 0)
  proxy.cut()
  await reader.until(has(2))
  lose = false
  t.same(ids(reader), published)
})

t.test('an announcement that comes twice, or late, is delivered once', async (t) => {
  const { app, user, reader, publish, published } = await startFiltered(t, () => 'pass')
  await publish(1)
  await reader.until(has(2))
  for (const id of [...published, ...published]) await app.redis.publish(`user:${user}`, JSON.stringify({ type: 'counted', id }))
  await publish(2)
  await reader.until(has(3))
  t.same(ids(reader), published)
})

t.test('entries of a program that announces nothing are found by the tick', async (t) => {
  const user = await startUser(t, { reconcileMs: 200 })
  const readers = [await user.open(), await user.open()]
  const added: string[] = []
  for (let n = 0; n < 3; n++) {
    const id = await user.app.redis.xadd(streamKey(user), '*', 'event', `{"n":${n}}`)
    added.push(id ?? '')
    for (const reader of readers) await reader.until(has(added.length))
  }
  for (const reader of readers) t.same(ids(reader), added)
})

t.test('while the topic cannot be subscribed, the stream is polled in its place', NEEDS_REAL_REDIS, async (t) => {
  const redis = await ownRedis(t)
  const user = await startUser(t, { redisUrl: redis.url, reconcileMs: NEVER_MS })
  const open = await user.open()
  const before = await publishMany(user, 1)
  await open.until(has(1))
  await user.app.redis.acl('SETUSER', 'default', '-subscribe')
  await askRedis(redis.url, 'CLIENT', 'KILL', 'TYPE', 'pubsub')
  const newcomer = await user.open(before[0])
  const meanwhile = [...await publishMany(user, 2), ...await publishMany(user, 2)]
  await Promise.all([open.until(has(5)), newcomer.until(has(4))])
  t.same(ids(open), [...before, ...meanwhile])
  t.same(ids(newcomer), meanwhile)
})

t.test('a comparison that fails is logged, and made again', NEEDS_REAL_REDIS, async (t) => {
  const redis = await ownRedis(t)
  const user = await startUser(t, { redisUrl: redis.url, reconcileMs: 50 })
  const reader = await user.open()
  await redis.kill()
  await eventually(() => user.lines.some(({ msg }) => msg === 'journal: the open viewers could not be compared with the notifications'))
  await redis.start()
  await eventually(() => user.app.redis.status === 'ready')
  const id = await user.app.redis.xadd(streamKey(user), '*', 'event', '{}')
  await reader.until(has(1))
  t.same(ids(reader), [id])
})
