import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startApp } from '../helper/app.js'
import { startAppProcess } from '../helper/app-process.js'
import { eventsOf, eventually, has, statusOf, upTo } from '../helper/journal.js'
import { freeze, thaw } from '../helper/servers.js'
import { connect, ids } from '../helper/sse.js'

const TIMES = { heartbeatMs: 200, producerIdleMs: 1_000, reconcileMs: 200 }
const STALE = { type: 'error', error: 'The answer was interrupted.', code: 'producer_stale' }

/** A producer in a process of its own, and two other processes' worth of readers. */
async function startProducing (t: Test) {
  const redisUrl = process.env.TEST_REDIS_URL ?? ''
  const one = await startApp(t, TIMES)
  const { databaseUrl } = one
  const two = await startApp(t, { ...TIMES, databaseUrl, migrate: false })
  const producer = await startAppProcess(t, { ...TIMES, databaseUrl, redisUrl })
  const { messageId } = await producer.ask<{ messageId: string }>('/produce', { everyMs: 10 })
  const readers = await Promise.all([one, two, two].map(async ({ url }) => await connect(t, `${url}/api/messages/${messageId}/events`)))
  for (const reader of readers) await reader.until(has(10))
  return { one, two, databaseUrl, producer, messageId, readers }
}

t.test('kill -9 of a producer in mid-stream: every reader on every node gets one durable producer_stale', async (t) => {
  const { databaseUrl, producer, messageId, readers } = await startProducing(t)
  await producer.kill()
  const killedAt = performance.now()
  for (const reader of readers) await reader.ended
  t.comment(`producer_stale after ${Math.round(performance.now() - killedAt)} ms; producerIdleMs ${TIMES.producerIdleMs}, heartbeatMs ${TIMES.heartbeatMs}, reconcileMs ${TIMES.reconcileMs}`)

  const rows = await eventsOf(databaseUrl, messageId)
  t.same(rows.filter(({ eventType }) => eventType === 'error').map(({ payload }) => payload), [STALE], 'once, however many noticed')
  t.equal(rows.at(-1)?.eventType, 'error')
  t.equal(await statusOf(databaseUrl, messageId), 'failed')
  for (const reader of readers) {
    t.same(ids(reader), upTo(rows.length))
    t.same(JSON.parse(reader.events.at(-1)?.data ?? ''), STALE)
  }
})

t.test('nobody is reading when the producer dies, and nobody comes: the message is ended all the same', async (t) => {
  const { databaseUrl, producer, messageId, readers } = await startProducing(t)
  for (const reader of readers) reader.cut()
  await producer.kill()
  await eventually(async () => await statusOf(databaseUrl, messageId) === 'failed')
  const rows = await eventsOf(databaseUrl, messageId)
  t.same(rows.at(-1)?.payload, STALE)
  t.equal(rows.filter(({ eventType }) => eventType === 'error').length, 1)
})

t.test('nobody is reading when the producer dies: the next reader gets the terminal', async (t) => {
  const { databaseUrl, one, producer, messageId, readers } = await startProducing(t)
  for (const reader of readers) reader.cut()
  await producer.kill()
  const reader = await connect(t, `${one.url}/api/messages/${messageId}/events`)
  await reader.ended
  t.same(JSON.parse(reader.events.at(-1)?.data ?? ''), STALE)
  t.same(ids(reader), upTo((await eventsOf(databaseUrl, messageId)).length))
})

t.test('a producer that was frozen, fenced and thawed cannot write another row, and is told', async (t) => {
  const { databaseUrl, producer, messageId, readers } = await startProducing(t)
  freeze(producer)
  for (const reader of readers) await reader.ended
  const rows = await eventsOf(databaseUrl, messageId)
  t.same(rows.at(-1)?.payload, STALE)

  thaw(producer)
  await eventually(async () => {
    const { recorded, aborted } = await producer.ask<{ recorded: boolean[], aborted: boolean }>(`/produced/${messageId}`)
    return aborted && recorded.slice(-20).length === 20 && recorded.slice(-20).every((committed) => !committed)
  })
  const { recorded, code } = await producer.ask<{ recorded: boolean[], code: string }>(`/produced/${messageId}`)
  t.equal(code, 'FST_JOURNAL_FENCED')
  t.same(await eventsOf(databaseUrl, messageId), rows, 'not a row more')
  t.equal(recorded.filter((committed) => committed).length, rows.length - 1, 'what was true is there, and nothing else')
})

t.test('a message whose producer was killed is continued elsewhere, after its last event', async (t) => {
  const { databaseUrl, two, producer, messageId, readers } = await startProducing(t)
  await producer.kill()
  const message = await two.app.journal.openMessage({ userId: 'ada', messageId })
  const continued = (await eventsOf(databaseUrl, messageId)).length
  t.equal(await message.record('answer', { continued }), true)
  // Its lease is alive, so for longer than producerIdleMs nobody ends it.
  await delay(TIMES.producerIdleMs + 2 * TIMES.reconcileMs)
  t.equal(await statusOf(databaseUrl, messageId), 'streaming')
  t.equal(await message.end(), true)
  for (const reader of readers) {
    await reader.ended
    t.same(ids(reader), upTo(continued + 2))
    t.same(JSON.parse(reader.events[continued]?.data ?? ''), { continued })
  }
})

t.test('a producer that is busy for long, but alive, keeps its message', async (t) => {
  const one = await startApp(t, TIMES)
  const { databaseUrl } = one
  const two = await startApp(t, { ...TIMES, databaseUrl, migrate: false })
  const message = await one.app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.touch(), true)
  const reader = await connect(t, `${two.url}/api/messages/${message.messageId}/events`)
  await delay(TIMES.producerIdleMs + 3 * TIMES.reconcileMs) // an LLM that thinks
  t.equal(await statusOf(databaseUrl, message.messageId), 'streaming')
  t.equal(message.signal.aborted, false)
  t.equal(await message.end(), true)
  await reader.ended
  t.same(ids(reader), ['0'])
})
