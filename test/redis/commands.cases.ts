import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import { ask, askAll } from '../../plugin/redis/commands.js'
import { eventually } from '../helper/journal.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'
import { startClient } from '../helper/redis-client.js'
import { freeze, ownRedis, thaw } from '../helper/servers.js'

test('answers come in the order of the commands, an Error where Redis said no', async (t) => {
  const { redis } = await startClient(t)
  const key = randomUUID()
  const answers = await askAll(redis, 2_000, [['SET', key, 'text'], ['INCR', key], ['GET', key]])
  t.match(answers, ['OK', { message: /not an integer/ }, 'text'])
  t.same(await askAll(redis, 2_000, []), [])
  t.equal(await ask(redis, 2_000, ['GET', key]), 'text')
  await t.rejects(ask(redis, 2_000, ['INCR', key]), { message: /not an integer/ })
})

test('a Redis that is away is not waited for', async (t) => {
  const server = await ownRedis(t)
  const { redis } = await startClient(t, server.url)
  await server.kill()
  await eventually(() => redis.status !== 'ready')
  await t.rejects(ask(redis, 60_000, ['GET', 'a']), { message: /^Redis is (?!ready)/ })
  await t.rejects(askAll(redis, 60_000, [['GET', 'a']]), { message: /^Redis is (?!ready)/ })
})

test('a frozen Redis is given up after the time given, and past some commands without an answer it is sent no more', NEEDS_REAL_REDIS, async (t) => {
  const server = await ownRedis(t)
  const { redis } = await startClient(t, server.url)
  freeze(server)
  const increments = Array.from({ length: 5_500 }, () => ['INCR', 'sent'] as ['INCR', string])
  await t.rejects(askAll(redis, 20, increments), { message: 'Redis gave no answer within 20 ms' })
  await t.rejects(ask(redis, 20, ['INCR', 'sent']), { message: 'Redis gave no answer within 20 ms' })
  await t.rejects(askAll(redis, 20, increments), { message: 'Redis gave no answer within 20 ms' })
  const refusal = { message: 'Redis has left 11001 commands unanswered' }
  await t.rejects(ask(redis, 60_000, ['INCR', 'sent']), refusal)
  await t.rejects(askAll(redis, 60_000, increments), refusal)

  thaw(server)
  await eventually(async () => await ask(redis, 5_000, ['GET', 'sent']).catch(() => null) === '11001')
  t.match(await askAll(redis, 5_000, [['INCR', 'sent']]), [11002], 'and is asked again')
})
