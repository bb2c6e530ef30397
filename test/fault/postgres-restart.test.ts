import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { PostgresServer } from '../../servers/postgres.js'
import { startApp, type TestAppOptions } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { ask, eventsOf, eventually, has, makeMessage, recordSteadily, upTo } from '../helper/journal.js'
import { ownPostgres } from '../helper/servers.js'
import { connect, ids } from '../helper/sse.js'

const OUTAGE_MS = 3_000
const EVERY_MS = 10

/** Each test leaves it running. */
let server: PostgresServer
t.before(async () => { server = await ownPostgres(t) })

async function startReading (t: Test, options: TestAppOptions = {}) {
  const started = await startApp(t, { databaseUrl: server.url, ...options })
  const messageId = await makeMessage(started.databaseUrl)
  const path = `${started.url}/api/messages/${messageId}/events`
  const reader = await connect(t, path)
  return { ...started, messageId, path, reader }
}

t.test('Postgres restarts within 3 s under 100 events a second: none of them is lost, late readers and open ones get all', async (t) => {
  const { app, messageId, path, reader } = await startReading(t)
  const allotted = await app.journal.openMessage({ userId: 'ada' })
  const second = await connect(t, path.replace(messageId, allotted.messageId))
  const numbered = recordSteadily(app.journal.recordEvent, messageId, EVERY_MS * 2)
  const leased = recordSteadily(async (_messageId, _sequenceNo, eventType, payload) => await allotted.record(eventType, payload), allotted.messageId, EVERY_MS * 2)
  await reader.until(has(20))
  await server.kill()
  await delay(OUTAGE_MS) // the length of the outage is the fault
  await server.start()
  await reader.until(has(numbered.count + 20))

  for (const [writer, message, open] of [[numbered, messageId, reader], [leased, allotted.messageId, second]] as const) {
    const recorded = await writer.stop()
    t.ok(recorded.length > OUTAGE_MS / EVERY_MS / 2, 'events came in all the while')
    t.ok(recorded.every((committed) => committed), 'each was recorded')
    const rows = await eventsOf(server.url, message)
    t.same(rows.map(({ payload }) => payload.answer), recorded.map((_, no) => `token ${no}`), 'once, in order')
    t.equal(writer === leased ? await allotted.end() : await app.journal.recordEvent(message, rows.length, 'end', { type: 'end' }), true)
    const late = await connect(t, path.replace(messageId, message))
    for (const each of [open, late]) {
      await each.ended
      t.same(ids(each), upTo(rows.length + 1))
    }
  }
})

t.test('past writeRetryMs recordEvent is false, and the log is not flooded', async (t) => {
  const { app, messageId, reader, lines } = await startReading(t, { writeRetryMs: 300 })
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), true)
  await reader.until(has(1))
  await server.kill()
  t.teardown(() => server.start())
  const recorded = await Promise.all(Array.from({ length: 1_000 }, async (_, no) => await app.journal.recordEvent(messageId, no + 1, 'answer', { no })))
  t.same(new Set(recorded), new Set([false]))
  const failures = lines.filter(({ msg }) => msg === 'journal: an event was not recorded')
  t.ok(failures.length > 0 && failures.length < 10, `${failures.length} lines`)
  t.match(failures[0], { messageId, sequenceNo: Number, eventType: 'answer', err: { type: String } })
  // No statement was sent for them, so they are shown, as what is not in the journal.
  await reader.until(has(2))
  t.equal(reader.events[1]?.id, undefined)
})

t.test('past maxPendingBytes recordEvent is false at once, and what waits is recorded', async (t) => {
  const { app, messageId } = await startReading(t, { maxPendingBytes: 10_000 })
  await server.kill()
  const recorded = Array.from({ length: 5 }, async (_, no) => await app.journal.recordEvent(messageId, no, 'answer', { no, text: 'x'.repeat(4_000) }))
  t.same(await Promise.all(recorded.slice(2)), [false, false, false])
  await server.start()
  t.same(await Promise.all(recorded), [true, true, false, false, false])
  t.equal((await eventsOf(server.url, messageId)).length, 2)
})

for (const overload of ['status', 'in-band'] as const) {
  t.test(`Postgres is killed: open readers stay, and catch up by themselves; a new one is turned away (${overload})`, async (t) => {
    const { app, messageId, path, reader } = await startReading(t, { overload })
    t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), true)
    await reader.until(has(1))
    await server.kill()
    const newcomer = await connect(t, path)
    await newcomer.ended
    if (overload === 'status') {
      t.equal(newcomer.status, 503)
      t.match(newcomer.response.headers['retry-after'], /^[1-9]$/)
      t.match(JSON.parse(newcomer.raw), { code: 'FST_JOURNAL_DATABASE_UNAVAILABLE' })
    } else {
      t.equal(newcomer.status, 200)
      t.match(newcomer.events, [{ event: 'busy', id: undefined }])
      t.equal(newcomer.retries.length, 1)
    }
    await t.rejects(app.journal.openMessage({ userId: 'ada' }), { code: 'FST_JOURNAL_DATABASE_UNAVAILABLE' })
    const stop = await fetch(path.replace(/events$/, 'stop'), { method: 'POST', headers: { 'x-user': 'ada' } })
    t.equal(stop.status, 503)
    t.match(stop.headers.get('retry-after'), /^[2-6]$/)

    // Another process's commit is announced while this app cannot ask Postgres: it is delivered, the one after a gap waits.
    const announce = async (no: number) => await app.redis.publish(`channel:${messageId}`, `{"message_id":"${messageId}","sequence_no":${no},"event_type":"answer","payload":{"no":${no}},"committed":true}`)
    await announce(1)
    await reader.until(has(2))
    await announce(3)
    await server.start()
    await ask(server.url, `insert into message_events (message_id, sequence_no, event_type, payload)
      select $1, no, 'answer', json_build_object('no', no) from generate_series(1, 3) no`, [messageId])
    await reader.until(has(4))
    t.equal(await app.journal.recordEvent(messageId, 4, 'end', { type: 'end' }), true)
    await reader.ended
    t.same(ids(reader), upTo(5))
  })
}

t.test('a lease that cannot be renewed is not lost: the producer goes on when Postgres is back', async (t) => {
  const { app, lines } = await startReading(t, { heartbeatMs: 50, reconcileMs: 50 })
  const message = await app.journal.openMessage({ userId: 'ada' })
  await server.kill()
  await eventually(() => lines.some(({ msg }) => msg === 'journal: the producers\' leases could not be renewed'))
  await eventually(() => lines.some(({ msg }) => msg === 'journal: the open viewers could not be compared with the journal'))
  const recorded = message.record('answer', {})
  await server.start()
  t.equal(await recorded, true)
  t.equal(message.signal.aborted, false)
  t.equal(await message.end(), true)
})

t.test('pg_terminate_backend of every connection, idle or at work, costs neither the process nor an event', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const { app, messageId, reader } = await startReading(t, { databaseUrl })
  const writer = recordSteadily(app.journal.recordEvent, messageId, 5)
  for (let times = 0; times < 5; times++) {
    await reader.until(has(reader.events.length + 10))
    await ask(databaseUrl, 'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()')
  }
  await reader.until(has(reader.events.length + 10))
  const recorded = await writer.stop()
  t.ok(recorded.every((committed) => committed))
  t.equal(await app.journal.recordEvent(messageId, recorded.length, 'end', { type: 'end' }), true)
  await reader.ended
  t.same(ids(reader), upTo(recorded.length + 1))
})
