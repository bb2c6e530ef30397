import { test } from 'tap'
import { startApp } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { ask, eventsOf, insertEvents, makeMessage } from '../helper/journal.js'
import { linesAbout, observe } from '../helper/writing.js'

const timelinesOf = async (databaseUrl: string) => (await ask<{ timeline: string | null }>(databaseUrl, 'select timeline from journal_state')).map(({ timeline }) => timeline)

test('under another timeline than the tables know, messages with a producer go on far above what may be lost', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const produced = await app.journal.openMessage({ userId: 'ada' })
  const ended = await app.journal.openMessage({ userId: 'ada' })
  t.strictSame([await produced.record('answer', { n: 0 }), await ended.record('answer', { n: 0 }), await ended.end()], [true, true, true])
  const foreign = await makeMessage(databaseUrl)
  await insertEvents(databaseUrl, foreign, { count: 3 })
  const [timeline] = await timelinesOf(databaseUrl)
  t.match(timeline, /^[0-9A-F]{8}$/)

  // As a promoted standby finds them; the sessions of before are gone with their server
  await ask(databaseUrl, 'update journal_state set timeline = \'0000ABCD\'')
  await ask(databaseUrl, 'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()')

  t.equal(await produced.record('answer', { n: 1 }), true)
  t.equal(await app.journal.recordEvent(foreign, 3, 'answer', { n: 3 }), true)
  t.strictSame(await timelinesOf(databaseUrl), [timeline])
  t.strictSame((await eventsOf(databaseUrl, produced.messageId)).map(({ sequenceNo }) => sequenceNo), [0, 1_000_001])
  t.equal(produced.lastSequenceNo, 1_000_001)
  t.strictSame((await eventsOf(databaseUrl, foreign)).map(({ sequenceNo }) => sequenceNo), [0, 1, 2, 3], 'who writes it gives its numbers')
  t.strictSame(await ask(databaseUrl, 'select last_no from messages where message_id = $1', [ended.messageId]), [{ last_no: 1 }])
  t.equal(await produced.record('answer', { n: 2 }), true)
  t.equal(produced.lastSequenceNo, 1_000_002, 'once')
})

test('a server that does not tell its timeline is used without it', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  await ask(databaseUrl, 'alter function pg_walfile_name(pg_lsn) rename to pg_walfile_name_of_another')
  const { app, lines } = await startApp(t, { databaseUrl })
  const message = await app.journal.openMessage({ userId: 'ada' })
  t.strictSame([await message.record('answer', {}), await message.end()], [true, true])
  t.strictSame(await timelinesOf(databaseUrl), [null])
  t.equal(linesAbout(lines, 'does not tell its timeline').length, 1)
})

test('a failover that cannot be written down yet keeps events waiting, and loses none', async (t) => {
  const { app, databaseUrl } = await startApp(t, { writeRetryMs: 1_000 })
  const message = await app.journal.openMessage({ userId: 'ada' })
  const database = await observe(t, databaseUrl)
  await database.query('update journal_state set timeline = \'0000ABCD\'')
  await database.terminateOthers()
  await database.query('begin')
  await database.query('select from journal_state for update')

  t.equal(await message.record('answer', { n: 0 }), false)
  await database.query('rollback')

  t.equal(await message.record('answer', { n: 1 }), true)
  t.strictSame((await eventsOf(databaseUrl, message.messageId)).map(({ sequenceNo, payload }) => [sequenceNo, payload]), [[1_000_000, { n: 1 }]])
})

test('without the table of the timeline events are recorded, and the next use of the connection asks again', async (t) => {
  const { app, databaseUrl } = await startApp(t, { pool: { max: 1 } })
  const message = await app.journal.openMessage({ userId: 'ada' })
  const [timeline] = await timelinesOf(databaseUrl)
  const database = await observe(t, databaseUrl)
  await database.query('update journal_state set timeline = null')
  await database.query('alter table journal_state rename to journal_state_elsewhere')
  await database.terminateOthers()
  t.equal(await message.record('answer', { n: 0 }), true)
  await database.query('alter table journal_state_elsewhere rename to journal_state')
  t.equal(await message.record('answer', { n: 1 }), true)
  t.strictSame(await timelinesOf(databaseUrl), [timeline])
})
