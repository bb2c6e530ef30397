import { test } from 'tap'
import { startRedis } from '../../servers/redis.js'
import { startApp } from '../helper/app.js'
import { listen, observe } from '../helper/writing.js'

test('a frozen Redis does not hold recordEvent back, and what was published meanwhile arrives when it thaws', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const { app, databaseUrl } = await startApp(t, { redisUrl: redis.url })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)
  const { pid } = redis
  if (pid === null) throw new Error('Redis is not running')

  process.kill(pid, 'SIGSTOP')
  for (let sequenceNo = 0; sequenceNo < 50; sequenceNo++) t.equal(await app.journal.recordEvent(messageId, sequenceNo, 'answer', {}), true)
  t.equal((await database.rows(messageId)).length, 50)
  t.strictSame(topics.texts, [])
  process.kill(pid, 'SIGCONT')

  await topics.until(50)
  t.strictSame(topics.envelopes.map((envelope) => envelope.sequence_no), Array.from({ length: 50 }, (_, n) => n))
})

test('a Redis that goes and comes back costs no row, and is published to again', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const { app, databaseUrl } = await startApp(t, { redisUrl: redis.url })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()

  const closed = new Promise((resolve) => app.redis.once('close', resolve))
  await redis.kill()
  await closed
  const ready = new Promise((resolve) => app.redis.once('ready', resolve))
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), true)
  await redis.start()
  await ready
  const topics = await listen(t, app, messageId)
  t.equal(await app.journal.recordEvent(messageId, 1, 'answer', {}), true)

  await topics.until(1)
  t.strictSame(topics.envelopes.map((envelope) => envelope.sequence_no), [1])
  t.strictSame((await database.rows(messageId)).map((row) => row.sequence_no), [0, 1])
})
