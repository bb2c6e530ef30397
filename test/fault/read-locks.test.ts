import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startApp } from '../helper/app.js'
import { eventsOf, eventually, has, insertEvents, makeMessage } from '../helper/journal.js'
import { follow } from '../helper/follow.js'
import { holdLock, untilQuiet } from '../helper/locks.js'
import { connect, ids } from '../helper/sse.js'

const LIMITS = { writeRetryMs: 800, reconcileMs: 100, maxConcurrentReads: 4 }
const READERS = 6
/** Several pages. */
const EVENTS = 3_000

t.jobs = 4 // most of the time they wait

for (const table of ['messages', 'message_events']) {
  for (const [than, ms] of [['shorter', 300], ['longer', 2_500]] as const) {
    t.test(`readers who come before and during a lock on ${table} that is ${than} than a read may take get each event once`, { buffered: true }, async (t) => {
      await readUnderLock(t, table, ms)
    })
  }
}

async function readUnderLock (t: Test, table: string, ms: number): Promise<void> {
  const { app, url, databaseUrl } = await startApp(t, LIMITS)
  const messageId = await makeMessage(databaseUrl)
  const path = `/api/messages/${messageId}/events`
  await insertEvents(databaseUrl, messageId, { count: EVENTS, bytes: 200 })
  const live = await connect(t, url + path, { headers: { 'last-event-id': String(EVENTS - 2) } })
  await live.until(has(1))

  const giveUp = new AbortController()
  t.teardown(() => { giveUp.abort() })
  const startReader = () => {
    const got: string[] = []
    const over = follow({ path, user: 'ada', url: () => url, onEvent: (id) => { got.push(id) }, signal: giveUp.signal })
    return { got, over }
  }
  const readers = Array.from({ length: READERS }, startReader)
  await eventually(() => readers.some(({ got }) => got.length > 0)) // the others are somewhere on their way
  await insertEvents(databaseUrl, messageId, { first: EVENTS, count: 100 }) // they are not published: all have to read them

  const lock = await holdLock(t, databaseUrl, `lock table ${table} in access exclusive mode`)
  readers.push(...Array.from({ length: READERS }, startReader))
  await delay(ms) // the length of the lock is the fault
  await lock.release()
  await untilQuiet(databaseUrl)

  await insertEvents(databaseUrl, messageId, { first: EVENTS + 100, count: 100 })
  t.equal(await app.journal.recordEvent(messageId, EVENTS + 200, 'answer', { type: 'answer' }), true)
  t.equal(await app.journal.recordEvent(messageId, EVENTS + 201, 'end', { type: 'end' }), true)
  await live.ended
  await Promise.all(readers.map(async ({ over }) => { await over }))
  const rows = (await eventsOf(databaseUrl, messageId)).map(({ sequenceNo }) => String(sequenceNo))
  t.same(ids(live), rows.slice(EVENTS - 1))
  for (const { got } of readers) t.same(got, rows)
}
