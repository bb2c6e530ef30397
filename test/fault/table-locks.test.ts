import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { collectAnswers, keepRecording } from '../helper/answers.js'
import { startApp } from '../helper/app.js'
import { eventsOf, eventually, makeMessage } from '../helper/journal.js'
import { holdLock, STOPS_WRITERS, TABLE_LOCKS, untilQuiet } from '../helper/locks.js'
import { connect, ids } from '../helper/sse.js'

/** A lock is held for far less, or until events are refused. */
const LIMITS = { writeRetryMs: 1_200, maxDoubtMs: 30_000 }
const SHORT_MS = 100
const BURST = 10

t.jobs = 8 // most of the time they wait

for (const table of ['messages', 'message_events']) {
  for (const mode of TABLE_LOCKS) {
    t.test(`${mode} on ${table}, before the events and while they are in flight, shorter and longer than writeRetryMs`, { buffered: true }, async (t) => {
      await lockAndRecord(t, table, mode)
    })
  }
}

async function lockAndRecord (t: Test, table: string, mode: string): Promise<void> {
  const { app, url, databaseUrl, lines } = await startApp(t, LIMITS)
  const leased = await app.journal.openMessage({ userId: 'ada' })
  const unleased = await makeMessage(databaseUrl)
  const messageIds = [leased.messageId, unleased]
  const readers = await Promise.all(messageIds.map(async (messageId) => await connect(t, `${url}/api/messages/${messageId}/events`)))
  const answers = collectAnswers(databaseUrl, lines)
  const lock = async () => await holdLock(t, databaseUrl, `lock table ${table} in ${mode} mode`)
  const recordBoth = async () => await Promise.all([answers.record(leased), answers.recordEvent(app, unleased)])
  const burst = () => Promise.all(Array.from({ length: BURST }, recordBoth))
  const areRefused = STOPS_WRITERS.has(mode)

  const short = await lock()
  const waiting = burst()
  await delay(SHORT_MS) // the length of the lock is the fault
  await short.release()
  t.ok((await waiting).flat().every((recorded) => recorded), 'a short lock is waited for')

  const long = await lock()
  t.same(new Set((await burst()).flat()), new Set([!areRefused]), 'a long lock is not')
  t.same(await answers.wrong(long.query), [])
  await long.release()

  const recordings = [keepRecording(async () => await answers.record(leased)), keepRecording(async () => await answers.recordEvent(app, unleased))]
  const count = (recorded: boolean) => answers.given.filter((answer) => answer.recorded === recorded).length
  const untilMore = async (recorded: boolean) => {
    const wanted = count(recorded) + BURST
    await eventually(() => count(recorded) >= wanted)
  }
  await untilMore(true)
  const refusedBefore = count(false)
  const shortAmid = await lock()
  await delay(SHORT_MS)
  await shortAmid.release()
  await untilMore(true)
  t.equal(count(false), refusedBefore, 'a short lock is waited for by what is in flight')
  const longAmid = await lock()
  await untilMore(!areRefused)
  t.same(await answers.wrong(longAmid.query), [])
  await longAmid.release()
  await untilMore(true)
  await Promise.all(recordings.map(async (stop) => { await stop() }))

  t.equal(await leased.end(), true)
  t.equal(await app.journal.recordEvent(unleased, 0, 'end', { type: 'end' }), true)
  await untilQuiet(databaseUrl)
  t.same(await answers.wrong(), [])
  t.equal(answers.unknown().size, 0, 'Postgres gave each lock up, and said so')
  for (const [place, messageId] of messageIds.entries()) {
    const rows = (await eventsOf(databaseUrl, messageId)).map(({ sequenceNo }) => String(sequenceNo))
    const late = await connect(t, `${url}/api/messages/${messageId}/events`)
    for (const reader of [readers[place], late]) {
      await reader?.ended
      t.same(reader && ids(reader).filter((id) => id !== undefined), rows)
    }
  }
}
