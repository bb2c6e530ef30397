import t, { type Test } from 'tap'
import { collectAnswers, keepRecording } from '../helper/answers.js'
import { startApp } from '../helper/app.js'
import { ask, eventsOf, eventually, has } from '../helper/journal.js'
import { untilQuiet } from '../helper/locks.js'
import { findPrograms, ownPostgres, standbyFor } from '../helper/servers.js'
import { connect, ids } from '../helper/sse.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'

const JUMP = 1_000_000
const EVENTS = 20

const bin = await findPrograms()
const skip = bin === null ? 'there is no pg_basebackup here' : false

/** Two apps behind an address that leads to the primary, and to the standby once that is promoted. */
async function start (t: Test, isSynchronous: boolean) {
  const programs = bin ?? ''
  const primary = await ownPostgres(t, { bin: programs, settings: { full_page_writes: 'on' } })
  const standby = await standbyFor(t, primary, programs)
  if (isSynchronous) {
    await ask(primary.url, "alter system set synchronous_standby_names = '*'")
    await ask(primary.url, 'select pg_reload_conf()')
  }
  const proxy = await startTcpProxy(t, primary.url)
  const one = await startApp(t, { databaseUrl: proxy.url, reconcileMs: 200 })
  const two = await startApp(t, { databaseUrl: proxy.url, migrate: false, reconcileMs: 200 })
  const message = await one.app.journal.openMessage({ userId: 'ada' })
  const path = `/api/messages/${message.messageId}/events`
  return {
    primary,
    standby,
    proxy,
    one,
    two,
    message,
    path,
    answers: collectAnswers(proxy.url, one.lines),
    readers: await Promise.all([one, two].map(async ({ url }) => await connect(t, url + path))),
    /** The primary dies; all that come back find the other server. */
    async failOver (): Promise<void> {
      proxy.refuse()
      await primary.kill()
      await ask(standby.url, 'select pg_promote()')
      proxy.redirect(standby.url)
      proxy.accept()
    }
  }
}

t.test('failover to a synchronous standby with events in flight: every answer is right, and readers get all of them', { skip }, async (t) => {
  const { one, two, proxy, message, path, answers, readers, failOver, standby } = await start(t, true)
  const stop = keepRecording(async () => await answers.record(message), 10, 5)
  for (const reader of readers) await reader.until(has(10 * EVENTS))
  await failOver()
  const seen = answers.given.length
  await eventually(() => answers.given.slice(seen).filter(({ recorded }) => recorded).length > 10 * EVENTS)
  await stop()
  t.same(await answers.wrong(), [])
  t.equal(await message.end(), true)
  await untilQuiet(standby.url)
  t.same(await answers.wrong(), [])
  t.equal(answers.unknown().size, 0)
  t.notOk(answers.given.some(({ recorded }) => !recorded), 'none was refused: it was not away for long')

  const rows = (await eventsOf(proxy.url, message.messageId)).map(({ sequenceNo }) => String(sequenceNo))
  t.ok(Number(rows.at(-1)) >= JUMP, `the numbers went on at ${rows.find((id) => Number(id) >= JUMP)}`)
  readers.push(await connect(t, two.url + path), await connect(t, one.url + path))
  for (const reader of readers) {
    await reader.ended
    t.same(ids(reader), rows)
  }
})

t.test('failover to a standby that lacks commits: readers at any cursor get all that is written next, and the end', { skip }, async (t) => {
  const { primary, standby, proxy, one, two, message, path, readers, failOver } = await start(t, false)
  const record = async (no: number) => await Promise.all(Array.from({ length: EVENTS }, async (_, i) => await message.record('answer', { no: no + i })))
  await record(0)
  const { rows: [sent] } = { rows: await ask<{ lsn: string }>(primary.url, 'select pg_current_wal_lsn() as lsn') }
  await eventually(async () => (await ask<{ done: boolean }>(standby.url, 'select pg_last_wal_replay_lsn() >= $1::pg_lsn as done', [sent?.lsn]))[0]?.done === true)
  await standby.stop() // it lacks what comes now
  await record(EVENTS)
  for (const reader of readers) await reader.until(has(2 * EVENTS))
  readers[1]?.cut() // its cursor stands behind all that there will be

  await primary.kill()
  await standby.start()
  await failOver()
  t.equal((await eventsOf(standby.url, message.messageId)).length, EVENTS, 'commits are lost')
  const behind = await connect(t, two.url + path, { headers: { 'last-event-id': String(2 * EVENTS - 1) } })
  const within = await connect(t, two.url + path, { headers: { 'last-event-id': String(EVENTS - 5) } })
  t.ok((await record(2 * EVENTS)).every((recorded) => recorded), 'the lease is as good as before')
  t.equal(message.signal.aborted, false)
  t.equal(await message.end(), true)

  const rows = await eventsOf(proxy.url, message.messageId)
  t.same(rows.map(({ payload }) => payload.no), [...Array.from({ length: EVENTS }, (_, no) => no), ...Array.from({ length: EVENTS }, (_, no) => 2 * EVENTS + no), undefined])
  const news = rows.slice(EVENTS).map(({ sequenceNo }) => String(sequenceNo))
  t.equal(Number(news[0]), EVENTS - 1 + JUMP + 1)
  const late = await connect(t, one.url + path)
  for (const reader of [readers[0], behind, within, late]) await reader?.ended
  t.same(readers[0] && ids(readers[0]).slice(2 * EVENTS), news, 'a reader that stayed')
  t.same(ids(behind), news, 'one that came back with the cursor of an event that is lost')
  t.same(ids(within), [...rows.slice(EVENTS - 4, EVENTS).map(({ sequenceNo }) => String(sequenceNo)), ...news])
  t.same(ids(late), rows.map(({ sequenceNo }) => String(sequenceNo)))
  t.equal([...one.lines, ...two.lines].filter(({ msg }) => msg.includes('failed over')).length, 1, 'one process has raised the numbers')
})
