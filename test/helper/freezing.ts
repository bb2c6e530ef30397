import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { collectAnswers, keepRecording } from './answers.js'
import { openConnections, startApp } from './app.js'
import { ask, eventsOf, eventually, makeMessage } from './journal.js'
import { untilQuiet } from './locks.js'
import { freezeAll } from './servers.js'
import { connect, ids } from './sse.js'

/** Something that keeps an app's Postgres from answering, without a sign that it does. */
export interface Freeze {
  begin (): Promise<void> | void
  end (): Promise<void> | void
}

/**
 * - `short`: it is over before anybody gives up.
 * - `long`: past the time in which a statement is given up, and past `writeRetryMs`.
 * - `endless`: past `maxDoubtMs`, until events are answered whose outcome is unknown.
 */
export type FreezeLength = 'short' | 'long' | 'endless'

/** So that a freeze is `endless` after a moment, and a `long` one never. */
const SCALED = (length: FreezeLength) => ({ writeRetryMs: 800, maxDoubtMs: length === 'endless' ? 1_500 : 30_000 })
export const DEFAULTS = { writeRetryMs: 10_000, maxDoubtMs: 60_000 }
const SHORT_MS = 150
const BURST = 20

/** All processes of a Postgres stand still. */
export function freezeOf (server: { readonly pid: number | null }): Freeze {
  let thaw = (): void => {}
  return {
    async begin () { thaw = await freezeAll(server) },
    end () { thaw() }
  }
}

/** A Postgres waits with each commit for a standby that is away. */
export function standbyOf (server: { readonly url: string }): Freeze {
  const set = async (names: string) => {
    await ask(server.url, `alter system set synchronous_standby_names = '${names}'`)
    await ask(server.url, 'select pg_reload_conf()')
    await eventually(async () => (await ask<{ synchronous_standby_names: string }>(server.url, 'show synchronous_standby_names'))[0]?.synchronous_standby_names === names)
  }
  return { begin: async () => { await set('away') }, end: async () => { await set('') } }
}

/** Records under a freeze with events in flight, and compares the answers and the readers with the table: as soon as it is over, and again at the end. */
export async function recordUnderFreeze (t: Test, freeze: Freeze, length: FreezeLength, urls: { app: string, own: string }, limits = SCALED(length)): Promise<void> {
  const { app, lines, url } = await startApp(t, { databaseUrl: urls.app, reconcileMs: 200, ...limits })
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
  else await delay(length === 'short' ? SHORT_MS : 2 * limits.writeRetryMs) // the length of the freeze is the fault
  await freeze.end()
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

/** The same three times over a Postgres of the test's own, one length after another. */
export async function recordUnderEachFreeze (t: Test, server: { url: string }, freeze: Freeze, limits?: typeof DEFAULTS): Promise<void> {
  t.teardown(async () => { await freeze.end() })
  for (const length of ['short', 'long', 'endless'] as const) {
    await t.test(length, async (t) => { await recordUnderFreeze(t, freeze, length, { app: server.url, own: server.url }, limits) })
  }
}
