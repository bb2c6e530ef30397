import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Message } from '../../plugin/index.js'
import { startApp } from '../helper/app.js'
import { startAppProcess } from '../helper/app-process.js'
import { ask, eventsOf, eventually, has } from '../helper/journal.js'
import { holdLock, untilLocked, untilQuiet } from '../helper/locks.js'
import { freeze, thaw } from '../helper/servers.js'
import { connect, ids } from '../helper/sse.js'

const LIMITS = { writeRetryMs: 800, maxDoubtMs: 1_500 }

/** A producer in a process of its own, to be frozen, and an app that reads. */
async function start (t: Test) {
  const { app, url, databaseUrl } = await startApp(t, LIMITS)
  const producer = await startAppProcess(t, { ...LIMITS, databaseUrl, redisUrl: process.env.TEST_REDIS_URL ?? '' })
  return { app, url, databaseUrl, producer }
}

t.jobs = 8 // most of the time they wait

for (const [than, ms] of [['shorter than writeRetryMs', 200], ['longer than writeRetryMs', 1_200], ['longer than maxDoubtMs', 2_000]] as const) {
  for (const isLocked of [false, true]) {
    t.test(`a process is frozen with events in flight, ${than}${isLocked ? ', and meanwhile an INSERT of its gets the lock that it waits for' : ''}`, { buffered: true }, async (t) => {
      const { url, databaseUrl, producer } = await start(t)
      const { messageId } = await producer.ask<{ messageId: string }>('/produce', { everyMs: 5, atOnce: 5 })
      const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
      await reader.until(has(20))
      const wrongAnswers = async () => {
        const { recorded } = await producer.ask<{ recorded: boolean[] }>(`/produced/${messageId}`)
        const found = new Set((await eventsOf(databaseUrl, messageId)).map(({ payload }) => payload.no))
        return recorded.flatMap((committed, no) => committed === found.has(no) ? [] : `${no}: ${committed}`)
      }

      const lock = isLocked ? await holdLock(t, databaseUrl, 'lock table message_events in share mode') : null
      if (isLocked) await untilLocked(databaseUrl)
      freeze(producer)
      await lock?.release()
      await delay(ms) // the length of the freeze is the fault
      thaw(producer)
      const { recorded: { length } } = await producer.ask<{ recorded: boolean[] }>(`/produced/${messageId}`)
      t.same(await wrongAnswers(), [])
      await eventually(async () => (await producer.ask<{ recorded: boolean[] }>(`/produced/${messageId}`)).recorded.lastIndexOf(true) > length)

      t.same(await producer.ask(`/end/${messageId}`, {}), { ended: true })
      await untilQuiet(databaseUrl)
      t.same(await wrongAnswers(), [])
      const rows = (await eventsOf(databaseUrl, messageId)).map(({ sequenceNo }) => String(sequenceNo))
      const late = await connect(t, `${url}/api/messages/${messageId}/events`)
      for (const each of [reader, late]) {
        await each.ended
        t.same(ids(each).filter((id) => id !== undefined), rows)
      }
    })
  }
}

t.test('a process that is frozen while it takes a message over keeps nobody else from that, and is not its producer afterwards', { buffered: true }, async (t) => {
  const { app, url, databaseUrl, producer } = await start(t)
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
  const lock = await holdLock(t, databaseUrl, 'select from messages where message_id = $1 for update', [messageId])
  const opening = producer.ask('/produce', { messageId, everyMs: 5 })
  await untilLocked(databaseUrl)
  freeze(producer)
  await lock.release() // its transaction goes on, and then holds the row
  await eventually(async () => (await ask(databaseUrl, "select from pg_stat_activity where datname = current_database() and state = 'idle in transaction'")).length > 0)

  let message: Message | null = null
  await eventually(async () => {
    message = await app.journal.openMessage({ userId: 'ada', messageId }).catch(() => null)
    return message !== null
  })
  thaw(producer)
  await t.rejects(opening, { message: '503' })
  const second = message as unknown as Message // it is open
  t.equal(await second.record('answer', { no: 0 }), true)
  t.equal(await second.end(), true)
  await reader.ended
  t.same(ids(reader), ['0', '1'])
  t.same((await eventsOf(databaseUrl, messageId)).map(({ payload }) => payload), [{ no: 0 }, { type: 'end' }])
})
