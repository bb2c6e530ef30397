import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { collectAnswers, keepRecording } from './answers.js'
import { openConnections, startApp } from './app.js'
import { eventsOf, eventually, makeMessage } from './journal.js'
import { untilQuiet } from './locks.js'
import { connect, ids } from './sse.js'

/** Something that keeps an app's Postgres from answering, without a sign that it does. */
export interface Freeze {
  begin (): Promise<void> | void
  end (): void
}

/**
 * - `short`: it is over before anybody gives up.
 * - `long`: past the time in which a statement is given up, and past `writeRetryMs`.
 * - `endless`: past `maxDoubtMs`, until events are answered whose outcome is unknown.
 */
export type FreezeLength = 'short' | 'long' | 'endless'

const WRITE_RETRY_MS = 800
const SHORT_MS = 150
const MAX_DOUBT_MS = { short: 30_000, long: 30_000, endless: 1_500 }
const BURST = 20

/** Records under a freeze with events in flight, and compares the answers and the readers with the table: as soon as it is over, and again at the end. */
export async function recordUnderFreeze (t: Test, freeze: Freeze, length: FreezeLength, urls: { app: string, own: string }): Promise<void> {
  const { app, lines, url } = await startApp(t, { databaseUrl: urls.app, writeRetryMs: WRITE_RETRY_MS, maxDoubtMs: MAX_DOUBT_MS[length], reconcileMs: 200 })
  await openConnections(app)
  const leased = await app.journal.openMessage({ userId: 'ada' })
  const unleased = await makeMessage(urls.own)
  const messageIds = [leased.messageId, unleased]
  const readers = await Promise.all(messageIds.map(async (messageId) => await connect(t, `${url}/api/messages/${messageId}/events`)))
  const answers = collectAnswers(urls.own, lines)
  const recordBoth = async () => await Promise.all([answers.record(leased), answers.recordEvent(app, unleased)])
  const count = (recorded: boolean) => answers.given.filter((answer) => answer.recorded === recorded).length
  const recordings = [
    keepRecording(async () => await answers.record(leased), 5, 5),
    keepRecording(async () => await answers.recordEvent(app, unleased), 5, 5)
  ]
  await eventually(() => count(true) >= BURST)

  await freeze.begin()
  const pending = Array.from({ length: BURST }, recordBoth)
  if (length === 'endless') await eventually(() => answers.unknown().size > 0)
  else await delay(length === 'short' ? SHORT_MS : 2 * WRITE_RETRY_MS) // the length of the freeze is the fault
  freeze.end()
  t.same(await answers.wrong(), [])
  await Promise.all([...pending, ...recordings.map(async (stop) => { await stop() })])
  t.same(await answers.wrong(), [], 'once those that were doubtful are answered')
  if (length === 'short') t.equal(count(false), 0, 'none is refused')
  else t.comment(`${count(false)} of ${answers.given.length} events were refused`)
  t.equal(answers.unknown().size > 0, length === 'endless', `${answers.unknown().size} are unknown`)

  await eventually(async () => (await recordBoth()).every((recorded) => recorded))
  t.equal(await leased.end(), true)
  t.equal(await app.journal.recordEvent(unleased, 0, 'end', { type: 'end' }), true)
  await untilQuiet(urls.own)
  t.same(await answers.wrong(), [], 'when all that was sent has come to its end')
  for (const [place, messageId] of messageIds.entries()) {
    const rows = (await eventsOf(urls.own, messageId)).map(({ sequenceNo }) => String(sequenceNo))
    const late = await connect(t, `${url}/api/messages/${messageId}/events`)
    for (const reader of [readers[place], late]) {
      await reader?.ended
      t.same(reader && ids(reader).filter((id) => id !== undefined), rows)
    }
  }
}
