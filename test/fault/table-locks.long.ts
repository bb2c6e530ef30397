import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { collectAnswers } from '../helper/answers.js'
import { startApp } from '../helper/app.js'
import { eventsOf } from '../helper/journal.js'
import { holdLock, untilQuiet } from '../helper/locks.js'
import { connect, ids } from '../helper/sse.js'

/** With the limits' defaults. */
const EVENTS = 900
const PADDING = 'x'.repeat(1_900)

t.jobs = 6 // most of the time they wait

for (const table of ['messages', 'message_events']) {
  for (const seconds of [5, 10, 15]) {
    t.test(`a lock on ${table} like CREATE INDEX's for ${seconds} s, and ${EVENTS} events in flight`, { buffered: true }, async (t) => {
      const { app, url, databaseUrl, lines } = await startApp(t)
      const message = await app.journal.openMessage({ userId: 'ada' })
      const path = `${url}/api/messages/${message.messageId}/events`
      const reader = await connect(t, path)
      const answers = collectAnswers(databaseUrl, lines)
      const large = {
        messageId: message.messageId,
        record: async (eventType: string, payload?: object) => await message.record(eventType, { ...payload, padding: PADDING })
      }
      t.equal(await answers.record(large), true)

      const lock = await holdLock(t, databaseUrl, `lock table ${table} in share mode`)
      const waiting = Promise.all(Array.from({ length: EVENTS }, async () => await answers.record(large)))
      await delay(seconds * 1_000) // the length of the lock is the fault
      t.same(await answers.wrong(lock.query), [])
      await lock.release()
      const recorded = await waiting
      t.same(await answers.wrong(), [])
      if (seconds !== 10) t.same(new Set(recorded), new Set([seconds < 10]))
      else t.comment(`${recorded.filter(Boolean).length} of ${EVENTS} events were recorded`)

      t.ok((await Promise.all(Array.from({ length: 5 }, async () => await answers.record(large)))).every((committed) => committed))
      t.equal(await message.end(), true)
      await untilQuiet(databaseUrl)
      t.same(await answers.wrong(), [])
      t.equal(answers.unknown().size, 0)
      const rows = (await eventsOf(databaseUrl, message.messageId)).map(({ sequenceNo }) => String(sequenceNo))
      const late = await connect(t, path)
      for (const each of [reader, late]) {
        await each.ended
        t.same(ids(each).filter((id) => id !== undefined), rows)
      }
    })
  }
}
