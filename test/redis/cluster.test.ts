import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { askRedis } from '../../servers/redis.js'
import { messageTopic, userTopic } from '../../plugin/wire/names.js'
import { STOP_TOPIC } from '../../plugin/messages/stop.js'
import { NO_TICKS, startApp } from '../helper/app.js'
import { eventually, has, upTo } from '../helper/journal.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'
import { startRedisCluster, type RedisCluster } from '../helper/redis-cluster.js'
import { connect, ids } from '../helper/sse.js'

/** What is lost stays lost for longer than the test lasts: what arrives was announced. */

async function startTwo (t: Test) {
  const cluster = await startRedisCluster(t)
  const one = await startApp(t, { redisClient: cluster.connect(), ...NO_TICKS })
  const { databaseUrl } = one
  const two = await startApp(t, { redisClient: cluster.connect(), databaseUrl, migrate: false, ...NO_TICKS })
  return { cluster, one, two }
}

async function isSubscribed (cluster: RedisCluster, topic: string): Promise<boolean[]> {
  return await Promise.all(cluster.nodes.map(async ({ url }) => (await askRedis(url, 'PUBSUB', 'SHARDCHANNELS', topic)).includes(topic)))
}

/** Enough for every node of three to have some. */
const MANY = 24

t.test('both pipes work on a Redis Cluster, by sharded pub/sub, under the same names', NEEDS_REAL_REDIS, async (t) => {
  const { cluster, one, two } = await startTwo(t)
  const messages = await Promise.all(Array.from({ length: MANY }, () => one.app.journal.openMessage({ userId: 'ada' })))
  const users = Array.from({ length: MANY }, () => randomUUID())
  const readers = await Promise.all(messages.map(async ({ messageId }) => await connect(t, `${two.url}/api/messages/${messageId}/events`)))
  const pages = await Promise.all(users.map(async (user) => await connect(t, `${two.url}/api/events`, { user })))

  for (const { messageId } of messages) {
    const topic = messageTopic(messageId)
    await eventually(async () => (await isSubscribed(cluster, topic)).some(Boolean))
    const owner = await cluster.nodeOf(topic)
    t.same(await isSubscribed(cluster, topic), cluster.nodes.map((node) => node === owner), 'where its slot is, and nowhere else')
  }
  for (let n = 0; n < 3; n++) t.ok((await Promise.all(messages.map(async (message) => await message.record('answer', { n })))).every(Boolean))
  const published = await Promise.all(users.map(async (user) => await Promise.all([1, 2].map(async (n) => await two.app.journal.publishUserEvent(user, 'counted', { n })))))
  await Promise.all(readers.map(async (reader) => await reader.until(has(3))))
  await Promise.all(pages.map(async (page) => await page.until(has(2))))
  for (const reader of readers) t.same(ids(reader), upTo(3))
  t.same(pages.map(ids), published)

  const [user = ''] = users
  const replayed = await connect(t, `${one.url}/api/events`, { user, headers: { 'last-event-id': published[0]?.[0] ?? '' } })
  await replayed.until(has(1))
  t.same(ids(replayed), published[0]?.slice(1))
  t.equal([...one.lines, ...two.lines].filter(({ level }) => level >= 40).length, 0)

  for (const reader of [...readers, ...pages, replayed]) reader.cut()
  await eventually(async () => (await isSubscribed(cluster, userTopic(user))).every((subscribed) => !subscribed))
})

t.test('on a Cluster a stop reaches the producer on another node, and slots are counted', NEEDS_REAL_REDIS, async (t) => {
  const cluster = await startRedisCluster(t)
  const one = await startApp(t, { redisClient: cluster.connect(), ...NO_TICKS })
  const two = await startApp(t, { redisClient: cluster.connect(), databaseUrl: one.databaseUrl, migrate: false, maxConnectionsPerUser: 1 })
  const message = await one.app.journal.openMessage({ userId: 'ada' })
  const stopped = new Promise((resolve) => { message.signal.addEventListener('abort', resolve) })
  const reader = await connect(t, `${two.url}/api/messages/${message.messageId}/events`)
  t.equal((await connect(t, `${two.url}/api/events`)).status, 429)
  t.equal((await connect(t, `${two.url}/api/messages/${message.messageId}/stop`, { method: 'POST' })).status, 202)
  await stopped
  t.match(message.signal.reason, { code: 'FST_JOURNAL_STOPPED' })
  await reader.ended
  t.match(JSON.parse(reader.events[0]?.data ?? ''), { type: 'end', reason: 'stopped' })
})

t.test('a slot that moves to another node takes its readers with it', NEEDS_REAL_REDIS, async (t) => {
  const { cluster, one, two } = await startTwo(t)
  const message = await one.app.journal.openMessage({ userId: 'ada' })
  const user = randomUUID()
  const reader = await connect(t, `${two.url}/api/messages/${message.messageId}/events`)
  const page = await connect(t, `${two.url}/api/events`, { user })
  t.ok(await message.record('answer', {}))
  const published = [await one.app.journal.publishUserEvent(user, 'before')]
  await Promise.all([reader.until(has(1)), page.until(has(1))])

  for (const key of [messageTopic(message.messageId), userTopic(user), `user:${user}:stream`]) {
    const owner = await cluster.nodeOf(key)
    const next = cluster.nodes.find((node) => node !== owner)
    if (next !== undefined) await cluster.move(key, next)
    await eventually(async () => {
      const topic = key.replace(/:stream$/, '')
      const subscribed = await isSubscribed(cluster, topic)
      return subscribed[cluster.nodes.indexOf(await cluster.nodeOf(topic))] === true
    })
  }
  t.ok(await message.record('answer', {}))
  published.push(await one.app.journal.publishUserEvent(user, 'after'))
  await Promise.all([reader.until(has(2)), page.until(has(2))])
  t.same(ids(reader), upTo(2))
  t.same(ids(page), published)
})

t.test('the connection to a node is given up with the last of its topics', NEEDS_REAL_REDIS, async (t) => {
  const cluster = await startRedisCluster(t)
  const { app, url } = await startApp(t, { redisClient: cluster.connect(), ...NO_TICKS })
  const elsewhere = await cluster.nodeOf(STOP_TOPIC) // which every process is subscribed to
  let message = await app.journal.openMessage({ userId: 'ada' })
  while (await cluster.nodeOf(messageTopic(message.messageId)) === elsewhere) message = await app.journal.openMessage({ userId: 'ada' })
  const topic = messageTopic(message.messageId)
  const node = await cluster.nodeOf(topic)
  const reader = await connect(t, `${url}/api/messages/${message.messageId}/events`)
  await eventually(async () => (await isSubscribed(cluster, topic)).some(Boolean))
  const [, client] = /^id=(\d+) .* ssub=1 /m.exec(await askRedis(node.url, 'CLIENT', 'LIST')) ?? []
  t.ok(client)

  await cluster.move(topic, elsewhere)
  await eventually(async () => !(await askRedis(node.url, 'CLIENT', 'LIST')).includes(`id=${client} `))
  t.ok(await message.end())
  await reader.ended
  t.same(ids(reader), upTo(1))
})

t.test('a node that is killed and comes back costs no reader anything', NEEDS_REAL_REDIS, async (t) => {
  const cluster = await startRedisCluster(t)
  const one = await startApp(t, { redisClient: cluster.connect() })
  const messages = await Promise.all(Array.from({ length: MANY }, () => one.app.journal.openMessage({ userId: 'ada' })))
  const users = Array.from({ length: MANY }, () => randomUUID())
  const readers = await Promise.all(messages.map(async ({ messageId }) => await connect(t, `${one.url}/api/messages/${messageId}/events`)))
  const pages = await Promise.all(users.map(async (user) => await connect(t, `${one.url}/api/events`, { user })))
  const record = async (n: number) => { t.ok((await Promise.all(messages.map(async (message) => await message.record('answer', { n })))).every(Boolean)) }
  await record(0)
  const published = await Promise.all(users.map(async (user) => [await one.app.journal.publishUserEvent(user, 'before')]))
  await Promise.all([...readers, ...pages].map(async (reader) => await reader.until(has(1))))

  await cluster.nodes[1]?.kill()
  await record(1)
  await Promise.all(readers.map(async (reader) => await reader.until(has(2)))) // by polling, where the node is missing
  await Promise.all(users.map(async (user, n) => {
    const id = await one.app.journal.publishUserEvent(user, 'meanwhile')
    if (id !== null) published[n]?.push(id)
  }))
  t.ok(published.some((own) => own.length === 2), 'the other nodes go on')

  await cluster.nodes[1]?.start()
  await cluster.settled()
  await record(2)
  await Promise.all(users.map(async (user, n) => {
    let id: string | null = null
    await eventually(async () => { // ioredis finds the node again in its own time
      id = await one.app.journal.publishUserEvent(user, 'after')
      return id !== null
    })
    if (id !== null) published[n]?.push(id)
  }))
  await Promise.all(readers.map(async (reader) => await reader.until(has(3))))
  for (const [n, page] of pages.entries()) {
    await page.until(has(published[n]?.length ?? 0))
    t.same(ids(page), published[n])
  }
  for (const reader of readers) t.same(ids(reader), upTo(3))
})
