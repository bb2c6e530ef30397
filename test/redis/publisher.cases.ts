import redis from '@fastify/redis'
import Fastify from 'fastify'
import { test, type Test } from 'tap'
import { startRedis } from '../../servers/redis.js'
import { createRateLimitedLogger } from '../../plugin/util/rate-limited-logger.js'
import { createPublisher } from '../../plugin/redis/publisher.js'
import { eventually } from '../helper/journal.js'
import { takeClock } from '../helper/writing.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'

async function start (t: Test, options: { maxRetriesPerRequest?: number } = {}) {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const lines: Array<Record<string, unknown>> = []
  const app = Fastify({ logger: { stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } } })
  t.teardown(() => app.close())
  await app.register(redis, { url: server.url, ...options })
  await app.ready()
  app.redis.on('error', () => {})
  const subscriber = app.redis.duplicate()
  t.teardown(async () => { subscriber.disconnect() })
  const received: string[] = []
  const onText = new Set<() => void>()
  subscriber.on('message', (topic, text) => {
    received.push(`${topic} ${text}`)
    for (const check of onText) check()
  })
  await subscriber.subscribe('a', 'b')
  return {
    server,
    lines,
    redis: app.redis,
    received,
    until: async (count: number) => await new Promise<void>((resolve) => {
      const check = (): void => { if (received.length >= count) resolve() }
      onText.add(check)
      check()
    }),
    publisher: createPublisher(app.redis, createRateLimitedLogger(app.log)),
    signal (name: 'SIGSTOP' | 'SIGCONT') {
      if (server.pid !== null) process.kill(server.pid, name)
    }
  }
}

const hints = (count: number) => Array.from({ length: count }, (_, n) => ({ topic: 'a', envelope: String(n) }))

test('envelopes are published in the order given', async (t) => {
  const { publisher, received, until, lines } = await start(t)

  publisher.publish([])
  publisher.publish([{ topic: 'a', envelope: '1' }, { topic: 'b', envelope: 'ä\n' }, { topic: 'a', envelope: '2' }])
  publisher.publish([{ topic: 'b', envelope: '3' }])
  await until(4)

  t.strictSame(received, ['a 1', 'b ä\n', 'a 2', 'b 3'])
  t.strictSame(lines, [])
})

test('a publish that Redis refuses is logged, and the next one is sent', NEEDS_REAL_REDIS, async (t) => {
  const { publisher, lines, redis, received, until } = await start(t)
  await redis.acl('SETUSER', 'default', '-publish')
  const logged = new Promise<void>((resolve) => {
    const look = (): void => { if (lines.length > 0) resolve(); else setImmediate(look) }
    look()
  })

  publisher.publish([{ topic: 'a', envelope: '1' }])
  await logged
  await redis.acl('SETUSER', 'default', '+publish')
  publisher.publish([{ topic: 'a', envelope: '2' }])
  await until(1)

  t.match(lines, [{ level: 40, err: { message: /NOPERM/ }, msg: 'journal: a publish failed; readers will find the event in the journal' }])
  t.strictSame(received, ['a 2'])
})

test('hints that a frozen Redis does not take are kept up to a limit, and dropped past it', NEEDS_REAL_REDIS, async (t) => {
  const { publisher, lines, received, until, redis, signal } = await start(t)

  signal('SIGSTOP')
  publisher.publish(hints(10_001))
  publisher.publish([{ topic: 'b', envelope: 'dropped' }])
  t.match(lines, [{ level: 40, err: { message: 'Redis is ready, with 10001 publishes unanswered' } }])
  signal('SIGCONT')
  await until(10_001)
  await redis.ping() // behind the answers to the publishes
  publisher.publish([{ topic: 'b', envelope: 'sent' }])
  await until(10_002)

  t.equal(received.at(-1), 'b sent')
  t.notOk(received.includes('b dropped'))
})

test('without a connection nothing is kept; once there is one, hints are sent again', async (t) => {
  const { publisher, lines, received, until, redis, server } = await start(t)
  const elapse = takeClock(t)
  await server.kill()
  await eventually(() => redis.status !== 'ready')

  publisher.publish(hints(3))
  t.match(lines, [{ level: 40, err: { message: /^Redis is (?!ready)/ } }])
  elapse(1_000)
  publisher.publish(hints(1))
  t.equal(lines.length, 2)
  await server.start()
  await eventually(() => redis.status === 'ready')
  while (await redis.publish('a', 'probe') === 0); // until the subscriber is back
  await until(1)
  const before = received.length
  publisher.publish([{ topic: 'b', envelope: 'sent' }])
  await until(before + 1)

  t.ok(received.slice(0, -1).every((text) => text === 'a probe'))
  t.equal(received.at(-1), 'b sent')
})

test('publishes that the connection takes with it are one line, and no unhandled rejection', async (t) => {
  const { publisher, lines, server, signal } = await start(t, { maxRetriesPerRequest: 0 })

  signal('SIGSTOP')
  publisher.publish(hints(5))
  await server.kill()
  while (lines.length === 0) await new Promise(setImmediate)

  t.match(lines, [{ level: 40, err: { type: 'MaxRetriesPerRequestError' } }])
  t.equal(lines.length, 1)
})

test('many envelopes of one commit are one command, in their order', NEEDS_REAL_REDIS, async (t) => {
  const { publisher, received, until, redis, lines } = await start(t)
  const commands = async (name: string): Promise<number> => Number(new RegExp(`cmdstat_${name}:calls=(\\d+)`).exec(await redis.info('commandstats'))?.[1] ?? 0)
  await redis.config('RESETSTAT')

  publisher.publish(hints(500))
  publisher.publish([{ topic: 'b', envelope: 'last' }])
  await until(501)

  t.strictSame(received, [...hints(500).map(({ envelope }) => `a ${envelope}`), 'b last'])
  t.equal(await commands('eval'), 1)
  t.equal(await commands('publish'), 501)
  t.strictSame(lines, [])
})

test('where scripts are refused, many envelopes are published one by one, then and from then on', NEEDS_REAL_REDIS, async (t) => {
  const { publisher, received, until, redis, lines } = await start(t)
  await redis.acl('SETUSER', 'default', '-eval')

  publisher.publish(hints(100))
  await until(100)
  await redis.acl('SETUSER', 'default', '+eval')
  await redis.config('RESETSTAT')
  publisher.publish(hints(100))
  await until(200)

  t.strictSame(received, [...hints(100), ...hints(100)].map(({ envelope }) => `a ${envelope}`))
  t.notMatch(await redis.info('commandstats'), /cmdstat_eval:/)
  t.strictSame(lines, [])
})

test('many envelopes that Redis refuses are one line, and the next ones are sent', NEEDS_REAL_REDIS, async (t) => {
  const { publisher, received, until, redis, lines } = await start(t)
  await redis.acl('SETUSER', 'default', '-publish')

  publisher.publish(hints(40))
  while (lines.length === 0) await new Promise(setImmediate)
  await redis.acl('SETUSER', 'default', '+publish')
  publisher.publish(hints(40))
  await until(40)

  t.match(lines, [{ level: 40, err: { message: /NOPERM/ } }])
  t.equal(lines.length, 1)
  t.strictSame(received, hints(40).map(({ envelope }) => `a ${envelope}`))
})

test('a connection that goes in the middle of many is one line', NEEDS_REAL_REDIS, async (t) => {
  const { publisher, lines, server, signal } = await start(t, { maxRetriesPerRequest: 0 })

  signal('SIGSTOP')
  publisher.publish(hints(100))
  await server.kill()
  while (lines.length === 0) await new Promise(setImmediate)

  t.equal(lines.length, 1)
})
