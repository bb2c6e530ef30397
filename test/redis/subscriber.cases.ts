import redis from '@fastify/redis'
import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { startRedis } from '../../servers/redis.js'
import { createRateLimitedLogger } from '../../plugin/util/rate-limited-logger.js'
import { createSubscriber } from '../../plugin/redis/subscriber.js'
import type { Subscriber } from '../../plugin/redis/topic.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'

const server = await startRedis()
t.teardown(() => server.stop())

interface Watched {
  subscribed: number
  messages: string[]
}

/** A subscriber, and another client that publishes and looks at the server. */
async function open (t: Test, url = server.url) {
  const lines: Array<{ msg: string, err: { message: string } }> = []
  const app = Fastify({ logger: { stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } } })
  t.teardown(() => app.close())
  await app.register(redis, { url })
  app.redis.on('error', () => {}) // the tests stop the server
  const subscriber = createSubscriber(app.redis, createRateLimitedLogger(app.log), () => {})
  t.teardown(() => { subscriber.close() })
  return { app, subscriber, lines }
}

function watch (subscriber: Subscriber, topic: string): Watched {
  const watched: Watched = { subscribed: 0, messages: [] }
  subscriber.subscribe(topic, {
    subscribed () { watched.subscribed++ },
    message (text) { watched.messages.push(text) }
  })
  return watched
}

/** How many connections each topic has; asks until it is as expected. */
async function subscriptions (app: FastifyInstance, topics: string[], expected: number): Promise<void> {
  for (;;) {
    const counts = await app.redis.pubsub('NUMSUB', ...topics)
    if (topics.every((_, i) => counts[2 * i + 1] === expected)) return
  }
}

async function until (condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => { setImmediate(resolve) })
}

t.test('a topic\'s owner hears of the acknowledgement, and then of every publish', async (t) => {
  const { app, subscriber } = await open(t)
  const watched = watch(subscriber, 'a')
  t.equal(watched.subscribed, 0, 'not before it has come')
  await until(() => watched.subscribed > 0)
  await until(() => subscriber.healthy)
  await app.redis.publish('a', 'one')
  await app.redis.publish('b', 'not ours')
  await app.redis.publish('a', 'two')
  await until(() => watched.messages.length >= 2)
  t.same(watched, { subscribed: 1, messages: ['one', 'two'] })
})

t.test('after unsubscribe nothing is heard, and the server is told', async (t) => {
  const { app, subscriber } = await open(t)
  const [left, kept] = [watch(subscriber, 'left'), watch(subscriber, 'kept')]
  await until(() => left.subscribed + kept.subscribed === 2)
  subscriber.unsubscribe('left')
  await Promise.all([app.redis.publish('left', 'late'), app.redis.publish('kept', 'one')])
  await subscriptions(app, ['left'], 0)
  await subscriptions(app, ['kept'], 1)
  await until(() => kept.messages.length > 0)
  t.same(left.messages, [])
})

t.test('a topic that is left and joined again in one turn is acknowledged again, without the server', async (t) => {
  const { app, subscriber } = await open(t)
  const first = watch(subscriber, 'a')
  await until(() => first.subscribed > 0)
  subscriber.unsubscribe('a')
  const second = watch(subscriber, 'a')
  await until(() => second.subscribed > 0)
  await app.redis.publish('a', 'one')
  await until(() => second.messages.length > 0)
  t.same([first, second], [{ subscribed: 1, messages: [] }, { subscribed: 1, messages: ['one'] }])
})

t.test('a topic that is left and joined again while the server has not answered is acknowledged once, to the last owner', async (t) => {
  const { app, subscriber } = await open(t)
  await until(() => subscriber.healthy)
  const first = watch(subscriber, 'a')
  await Promise.resolve() // the command is on its way
  subscriber.unsubscribe('a')
  const second = watch(subscriber, 'a')
  await until(() => second.subscribed > 0)
  await app.redis.publish('a', 'one')
  await until(() => second.messages.length > 0)
  t.same([first, second], [{ subscribed: 0, messages: [] }, { subscribed: 1, messages: ['one'] }])
})

t.test('a topic that is left in one turn and joined in the next is subscribed in the end', async (t) => {
  const { app, subscriber } = await open(t)
  const first = watch(subscriber, 'a')
  await until(() => first.subscribed > 0)
  for (let i = 0; i < 5; i++) {
    subscriber.unsubscribe('a')
    await Promise.resolve()
    const next = watch(subscriber, 'a')
    await until(() => next.subscribed > 0)
    await app.redis.publish('a', String(i))
    await until(() => next.messages.length > 0)
    t.same(next.messages, [String(i)])
  }
})

t.test('thousands of topics are subscribed and dropped at once', async (t) => {
  const { app, subscriber } = await open(t)
  const topics = Array.from({ length: 2_100 }, (_, i) => `many:${i}`)
  const watched = topics.map((topic) => watch(subscriber, topic))
  await until(() => watched.every(({ subscribed }) => subscribed === 1))
  await subscriptions(app, topics, 1)
  for (const topic of topics) subscriber.unsubscribe(topic)
  await subscriptions(app, topics, 0)
})

t.test('after a lost connection every topic is subscribed and acknowledged again', NEEDS_REAL_REDIS, async (t) => {
  const { app, subscriber } = await open(t)
  const watched = ['a', 'b', 'c'].map((topic) => watch(subscriber, topic))
  await until(() => watched.every(({ subscribed }) => subscribed === 1))
  t.equal(await app.redis.client('KILL', 'TYPE', 'PUBSUB'), 1)
  await until(() => watched.every(({ subscribed }) => subscribed === 2))
  await Promise.all(['a', 'b', 'c'].map((topic) => app.redis.publish(topic, 'after')))
  await until(() => watched.every(({ messages }) => messages.length === 1))
})

t.test('topics joined and left while Redis is away are settled when it is back', async (t) => {
  const { app, subscriber, lines } = await open(t)
  const [before, left] = [watch(subscriber, 'before'), watch(subscriber, 'left')]
  await until(() => before.subscribed + left.subscribed === 2)
  await server.kill()
  await until(() => !subscriber.healthy)
  const during = watch(subscriber, 'during')
  subscriber.unsubscribe('left')
  await until(() => lines.some(({ msg }) => msg === 'journal: the subscriber connection to Redis failed'))
  await server.start()
  await until(() => before.subscribed === 2 && during.subscribed === 1)
  await subscriptions(app, ['before', 'during'], 1)
  await subscriptions(app, ['left'], 0)
  t.equal(left.subscribed, 1)
})

t.test('a subscription that Redis refuses is logged, and the others go on', NEEDS_REAL_REDIS, async (t) => {
  const { app } = await open(t)
  await app.redis.acl('SETUSER', 'limited', 'on', '>secret', '~*', 'resetchannels', '&allowed', '+@all')
  const { subscriber, lines } = await open(t, server.url.replace('redis://', 'redis://limited:secret@'))
  await until(() => subscriber.healthy)
  const refused = watch(subscriber, 'refused')
  await until(() => lines.some(({ msg }) => msg === 'journal: the subscriber connection to Redis gave no answer'))
  const allowed = watch(subscriber, 'allowed')
  await until(() => allowed.subscribed === 1)
  t.equal(refused.subscribed, 0)
})

t.test('a key prefix of the app\'s client is not put before a topic', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(redis, { url: server.url, keyPrefix: 'app:' })
  const subscriber = createSubscriber(app.redis, createRateLimitedLogger(app.log), () => {})
  t.teardown(() => { subscriber.close() })
  const watched = watch(subscriber, 'channel:a')
  await until(() => watched.subscribed > 0)
  t.same(await app.redis.pubsub('CHANNELS'), ['channel:a'])
})

t.test('closing ends the connection, and no listener is called any more', async (t) => {
  const { app, subscriber } = await open(t)
  const watched = watch(subscriber, 'a')
  await until(() => watched.subscribed > 0)
  subscriber.close()
  await subscriptions(app, ['a'], 0)
  t.equal(subscriber.healthy, false)
  t.notMatch(await app.redis.client('LIST'), /sub=[1-9]/)
})
