import type { FastifyInstance } from 'fastify'
import pg from 'pg'
import { test, type Test } from 'tap'
import type { Message, MessageJournalOptions } from '../../plugin/index.js'
import { NO_TICKS, openConnections, startApp } from '../helper/app.js'
import { startAppProcess } from '../helper/app-process.js'
import { createTestDatabase } from '../helper/database.js'
import { gate } from '../helper/gate.js'
import { ask, eventsOf, eventually, has, makeMessage, statusOf } from '../helper/journal.js'
import { holdLock } from '../helper/locks.js'
import { connect, ids } from '../helper/sse.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'
import { beforeStatements, countStatements, linesAbout, observe } from '../helper/writing.js'

const TIMES = { heartbeatMs: 100, producerIdleMs: 600, reconcileMs: 50 }
const STALE = { type: 'error', error: 'The answer was interrupted.', code: 'producer_stale' }
const redisUrl = process.env.TEST_REDIS_URL ?? ''

type TakeOver = NonNullable<MessageJournalOptions['takeOver']>

/** A message as a process that died long ago has left it: with a lease and one event. */
async function makeOrphan (databaseUrl: string, rest = 'heartbeat_at = now() - interval \'1 hour\''): Promise<string> {
  const messageId = await makeMessage(databaseUrl)
  await ask(databaseUrl, 'insert into message_events (message_id, sequence_no, event_type, created_at) values ($1, 0, \'answer\', now() - interval \'1 hour\')', [messageId])
  await ask(databaseUrl, `update messages set epoch = 1, ${rest} where message_id = $1`, [messageId])
  return messageId
}

/** Resolves when the app has looked for messages without a producer so many times more. */
async function untilLooked (app: FastifyInstance, times: number): Promise<void> {
  const looks = countStatements(app, /lookForDead/)
  await eventually(() => looks() >= times)
}

/** A client that holds a lock until its function is called. */
async function lock (t: Test, databaseUrl: string, sql: string, values: unknown[] = []): Promise<() => Promise<void>> {
  const client = new pg.Client({ connectionString: databaseUrl })
  client.on('error', () => {}) // a test that fails drops its database
  await client.connect()
  t.teardown(() => client.end())
  await client.query('begin')
  await client.query(sql, values)
  return async () => { await client.query('rollback') }
}

async function lastEvent (databaseUrl: string, messageId: string): Promise<unknown> {
  return (await eventsOf(databaseUrl, messageId)).at(-1)?.payload
}

test('a message whose producer was killed goes on in another process, behind its last event, and its readers see no end in between', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const asked: Array<{ lost: string, lastSequenceNo: number, events: number }> = []
  const { app, url } = await startApp(t, {
    ...TIMES,
    databaseUrl,
    takeOver: async (message, { lost }) => {
      asked.push({ lost, lastSequenceNo: message.lastSequenceNo, events: (await eventsOf(databaseUrl, message.messageId)).length })
      return async (message) => { await message.record('answer', { by: 'the next one' }) }
    }
  })
  const producer = await startAppProcess(t, { ...TIMES, databaseUrl, redisUrl })
  const { messageId } = await producer.ask<{ messageId: string }>('/produce', { everyMs: 10 })
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
  await reader.until(has(3))

  await producer.kill()
  await reader.ended

  const events = await eventsOf(databaseUrl, messageId)
  t.equal(asked.length, 1)
  t.strictSame(asked[0], { lost: 'stale', lastSequenceNo: events.length - 3, events: events.length - 2 })
  t.strictSame(events.slice(-2).map(({ payload }) => payload), [{ by: 'the next one' }, { type: 'end' }])
  t.strictSame(ids(reader), events.map(({ sequenceNo }) => String(sequenceNo)))
  t.equal(await statusOf(databaseUrl, messageId), 'complete')
  t.equal(app.journal.stats().producers, 0)
})

test('when the process that has taken a message over dies too, the next one is asked', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const first = await startAppProcess(t, { ...TIMES, databaseUrl, redisUrl, migrate: true, takesOver: true })
  const messageId = await makeOrphan(databaseUrl)
  await eventually(async () => (await eventsOf(databaseUrl, messageId)).length > 3)
  const lost: string[] = []
  await startApp(t, {
    ...TIMES,
    databaseUrl,
    takeOver (message, reason) {
      lost.push(reason.lost)
      return async (message) => { await message.record('answer', { by: 'the third' }) }
    }
  })
  t.strictSame(lost, [])

  await first.kill()

  await eventually(async () => await statusOf(databaseUrl, messageId) === 'complete')
  t.strictSame(lost, ['stale'])
  const events = await eventsOf(databaseUrl, messageId)
  t.strictSame(events.map(({ sequenceNo }) => sequenceNo), events.map((_, place) => place))
  t.match(events.slice(-3).map(({ payload }) => payload), [{ pid: first.pid }, { by: 'the third' }, { type: 'end' }])
})

test('of several processes that find a message without a producer, one is asked to take it over', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const done = gate()
  const asked: Message[] = []
  const takeOver: TakeOver = (message) => {
    asked.push(message)
    return async () => { await done.opened }
  }
  const apps = [await startApp(t, { ...TIMES, databaseUrl, takeOver }), await startApp(t, { ...TIMES, databaseUrl, takeOver, migrate: false })]
  const messageId = await makeOrphan(databaseUrl)

  await eventually(() => asked.length > 0)
  await Promise.all(apps.map(async ({ app }) => { await untilLooked(app, 20) }))

  t.equal(asked.length, 1)
  t.match(await ask(databaseUrl, 'select status, epoch from messages'), [{ status: 'streaming', epoch: 2 }])
  done.open()
  await eventually(async () => await statusOf(databaseUrl, messageId) === 'complete')
  t.equal((await eventsOf(databaseUrl, messageId)).length, 2)
})

test('a message without an event is taken over as well, be it nobody\'s', async (t) => {
  const asked: unknown[] = []
  const { databaseUrl } = await startApp(t, {
    ...TIMES,
    takeOver ({ userId, lastSequenceNo }) {
      asked.push({ userId, lastSequenceNo })
      return async (message) => { await message.record('answer', {}) }
    }
  })
  const messageId = await makeMessage(databaseUrl, { userId: null })
  await ask(databaseUrl, 'update messages set epoch = 3, heartbeat_at = now() - interval \'1 hour\'')
  await eventually(async () => await statusOf(databaseUrl, messageId) === 'complete')
  t.strictSame(asked, [{ userId: null, lastSequenceNo: -1 }])
  t.strictSame((await eventsOf(databaseUrl, messageId)).map(({ sequenceNo }) => sequenceNo), [0, 1])
})

test('a message of an app that closes is handed over at once, long before its lease is over', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const lost: string[] = []
  await startApp(t, {
    databaseUrl,
    takeOver (message, reason) {
      lost.push(reason.lost)
      return async (message) => { await message.record('answer', { by: 'the next one' }) }
    }
  })
  const closing = await startApp(t, { databaseUrl, migrate: false })
  const message = await closing.app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.record('answer', { by: 'the first' }), true)

  await closing.app.close()

  await eventually(async () => await statusOf(databaseUrl, message.messageId) === 'complete')
  t.strictSame(lost, ['closed'])
  t.strictSame((await eventsOf(databaseUrl, message.messageId)).map(({ payload }) => payload), [{ by: 'the first' }, { by: 'the next one' }, { type: 'end' }])
})

test('a message that the release before this one has opened since it was handed over is not taken from its producer', async (t) => {
  const { databaseUrl } = await startApp(t, NO_TICKS)
  const messageId = await makeOrphan(databaseUrl, 'heartbeat_at = now(), handed_over = now()')
  await ask(databaseUrl, `
    insert into messages as m (message_id, user_id, status, epoch, heartbeat_at) values ($1, 'ada', 'streaming', 1, now())
    on conflict (message_id) do update set status = 'streaming', error = null, epoch = m.epoch + 1, sequence_floor = -1, heartbeat_at = now()`, [messageId])

  const { app } = await startApp(t, { databaseUrl, migrate: false, reconcileMs: 50, takeOver: () => null })
  await untilLooked(app, 5)

  t.match(await ask(databaseUrl, 'select status, epoch from messages'), [{ status: 'streaming', epoch: 2 }])
})

for (const [what, takeOver, logged] of [
  ['gives null', () => null, null],
  ['gives no function', () => 42 as never, null],
  ['throws', () => { throw new Error('not today') }, 'not today'],
  ['rejects', async () => { throw new Error('not today') }, 'not today']
] as Array<[string, TakeOver, string | null]>) {
  test(`a message whose producer is gone is ended as stale when takeOver ${what}`, async (t) => {
    const { databaseUrl, lines, url } = await startApp(t, { ...TIMES, takeOver })
    const messageId = await makeOrphan(databaseUrl)
    const reader = await connect(t, `${url}/api/messages/${messageId}/events`)

    await reader.ended

    t.strictSame(JSON.parse(reader.events.at(-1)?.data ?? ''), STALE)
    t.match(reader.raw, /: end failed\n\n$/)
    t.equal((await eventsOf(databaseUrl, messageId)).length, 2)
    t.equal(await statusOf(databaseUrl, messageId), 'failed')
    t.match(linesAbout(lines, 'takeOver gave no producer'), logged === null ? [] : [{ level: 50, messageId, err: { message: logged } }])
  })
}

test('a takeOver that fails after its message was taken over elsewhere ends nothing', async (t) => {
  const waiting = gate()
  const { app, databaseUrl } = await startApp(t, {
    ...TIMES,
    async takeOver () {
      await waiting.opened
      return null
    }
  })
  const messageId = await makeOrphan(databaseUrl)
  await eventually(async () => (await ask(databaseUrl, 'select from messages where epoch = 2')).length === 1)
  const other = await startApp(t, { databaseUrl, migrate: false })
  const message = await other.app.journal.openMessage({ userId: 'ada', messageId })

  waiting.open()
  await untilLooked(app, 5)

  t.equal(await message.record('answer', { by: 'the other' }), true)
  t.equal(await message.end(), true)
  t.strictSame((await eventsOf(databaseUrl, messageId)).map(({ payload }) => payload), [{}, { by: 'the other' }, { type: 'end' }])
})

test('a process that dies after it recorded without a lease: readers are told after producerIdleMs, counted from its last sign of life', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const { url, app } = await startApp(t, { ...TIMES, databaseUrl })
  const recorder = await startAppProcess(t, { ...TIMES, databaseUrl, redisUrl })
  const messageId = await makeMessage(databaseUrl)
  const heartbeat = async () => (await ask<{ at: string | null }>(databaseUrl, 'select heartbeat_at::text as at from messages'))[0]?.at ?? null
  t.strictSame(await recorder.ask('/record', { messageId, sequenceNo: 0, eventType: 'answer' }), { recorded: true })
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)

  await eventually(async () => await heartbeat() !== null)
  const first = await heartbeat()
  await eventually(async () => await heartbeat() !== first)
  t.equal(await statusOf(databaseUrl, messageId), 'streaming', 'the process says that it lives')

  await recorder.kill()
  await reader.ended

  t.strictSame((await eventsOf(databaseUrl, messageId)).map(({ payload }) => payload), [{ type: 'answer' }, STALE])
  t.match(reader.raw, /: end failed\n\n$/)
  t.strictSame(await ask(databaseUrl, `select e.created_at - m.heartbeat_at > interval '${TIMES.producerIdleMs} ms' as later from messages m join message_events e using (message_id) where ending`), [{ later: true }])
  t.equal(await app.journal.recordEvent(messageId, 2, 'answer', {}), false)
})

test('a process that has recorded without a lease keeps the message alive for producerIdleMs, and no longer', async (t) => {
  const { app, databaseUrl } = await startApp(t, { ...TIMES, producerIdleMs: 1_000 })
  const messageId = await makeMessage(databaseUrl)
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), true)

  await eventually(async () => await statusOf(databaseUrl, messageId) === 'failed')

  t.strictSame(await lastEvent(databaseUrl, messageId), STALE)
  t.strictSame(await ask(databaseUrl, `
    select ended_at - e.created_at > interval '1.9 s' as late from messages m join message_events e using (message_id) where sequence_no = 0`), [{ late: true }])
})

test('a message of a program that writes no heartbeats ends as stale after producerSilenceMs, not before', async (t) => {
  const { app, databaseUrl, url } = await startApp(t, { ...TIMES, producerSilenceMs: 1_500 })
  const messageId = await makeMessage(databaseUrl)
  const write = async (no: number) => await ask(databaseUrl, 'insert into message_events (message_id, sequence_no, event_type) values ($1, $2, \'answer\')', [messageId, no])
  await write(0)
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
  await eventually(async () => (await ask(databaseUrl, 'select from messages where created_at < now() - interval \'1 s\'')).length === 1)
  t.equal(await statusOf(databaseUrl, messageId), 'streaming', 'longer than producerIdleMs')
  await write(1)

  await reader.ended

  t.strictSame((await eventsOf(databaseUrl, messageId)).map(({ payload }) => payload), [{}, {}, STALE])
  t.strictSame(await ask(databaseUrl, `
    select ended_at - e.created_at >= interval '1.5 s' as late from messages m join message_events e using (message_id) where sequence_no = 1`), [{ late: true }])
  t.equal(await app.journal.recordEvent(messageId, 3, 'answer', {}), false)
})

test('with producerSilenceMs 0 a program without heartbeats may be silent for ever', async (t) => {
  const { app, databaseUrl } = await startApp(t, { ...TIMES, producerSilenceMs: 0 })
  const messageId = await makeMessage(databaseUrl)
  await ask(databaseUrl, 'update messages set created_at = now() - interval \'1 year\' where message_id = $1', [messageId])
  await untilLooked(app, 20)
  t.equal(await statusOf(databaseUrl, messageId), 'streaming')
})

test('a message of a program that writes heartbeats ends as stale after producerIdleMs without them', async (t) => {
  const { databaseUrl } = await startApp(t, TIMES)
  const messageId = await makeMessage(databaseUrl)
  await ask(databaseUrl, 'update messages set heartbeat_at = now() where message_id = $1', [messageId])

  await eventually(async () => await statusOf(databaseUrl, messageId) === 'failed')

  t.strictSame(await lastEvent(databaseUrl, messageId), STALE)
  t.strictSame(await ask(databaseUrl, 'select ended_at - heartbeat_at >= interval \'0.6 s\' as late from messages'), [{ late: true }])
})

for (const [eventType, status] of [['end', 'complete'], ['error', 'failed']]) {
  test(`a message without a lease whose last event is of type ${eventType} gets its status, and no further event`, async (t) => {
    const { app, databaseUrl } = await startApp(t, TIMES)
    const messageId = await makeMessage(databaseUrl)
    t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), true)
    t.equal(await app.journal.recordEvent(messageId, 1, 'last', { type: eventType }), true)

    await eventually(async () => await statusOf(databaseUrl, messageId) !== 'streaming')

    t.strictSame(await ask(databaseUrl, 'select status, ended_no, ended_at is not null as dated from messages'), [{ status, ended_no: 1, dated: true }])
    t.equal((await eventsOf(databaseUrl, messageId)).length, 2)
  })
}

test('producers that record during an outage of Postgres longer than producerIdleMs, or are silent in it, are not ended after it', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, databaseUrl)
  const { app } = await startApp(t, { ...TIMES, databaseUrl: proxy.url })
  const judge = await startApp(t, { ...TIMES, databaseUrl: proxy.url, migrate: false })
  await openConnections(app)
  const messages = await Promise.all(Array.from({ length: 10 }, async () => await app.journal.openMessage({ userId: 'ada' })))
  for (const message of messages) t.equal(await message.record('answer', { n: 0 }), true)

  proxy.refuse()
  const recorded = messages.slice(0, 5).map(async (message) => await message.record('answer', { n: 1 }))
  await ask(databaseUrl, 'select pg_sleep(1.2)')
  proxy.accept()

  t.strictSame(await Promise.all(recorded), recorded.map(() => true))
  await Promise.all([untilLooked(app, 20), untilLooked(judge.app, 20)])
  for (const message of messages) t.equal(message.signal.aborted, false)
  t.strictSame(await Promise.all(messages.map(async (message) => await message.end())), messages.map(() => true))
  t.strictSame(await ask(databaseUrl, 'select count(*)::int as events, count(*) filter (where ending)::int as ends from message_events'), [{ events: 25, ends: 10 }])
})

test('the producer of a message whose row somebody holds for longer than producerIdleMs is not ended', async (t) => {
  const { app, databaseUrl } = await startApp(t, TIMES)
  const [locked, free] = [await app.journal.openMessage({ userId: 'ada' }), await app.journal.openMessage({ userId: 'ada' })]
  for (const message of [locked, free]) t.equal(await message.record('answer', {}), true)
  const dead = await makeOrphan(databaseUrl)
  const unlock = await lock(t, databaseUrl, 'select from messages where message_id = any ($1) for update', [[locked.messageId, dead]])
  const recorded = locked.record('answer', { n: 1 })

  await ask(databaseUrl, 'select pg_sleep(1.5)')
  t.equal(await free.record('answer', { n: 1 }), true)
  t.strictSame([locked, free].map(({ signal }) => signal.aborted), [false, false])
  await unlock()

  t.equal(await recorded, true)
  await eventually(async () => await statusOf(databaseUrl, dead) === 'failed')
  await untilLooked(app, 10)
  t.strictSame([locked, free].map(({ signal }) => signal.aborted), [false, false])
  t.strictSame(await Promise.all([locked.end(), free.end()]), [true, true])
})

test('a message that ends, or whose row is locked, just when it is about to be judged, is left to who does that', async (t) => {
  const { app, databaseUrl } = await startApp(t, TIMES)
  const [ending, locked] = [await makeOrphan(databaseUrl), await makeOrphan(databaseUrl)]
  let meddled: Promise<() => Promise<void>> | undefined
  beforeStatements(app, /coalesce\(touched_at, created_at\)/, async () => {
    meddled ??= (async () => {
      await ask(databaseUrl, 'insert into message_events (message_id, sequence_no, event_type) values ($1, 1, \'end\')', [ending])
      await ask(databaseUrl, 'update messages set status = \'complete\', ended_no = 1 where message_id = $1', [ending])
      return await lock(t, databaseUrl, 'select from messages where message_id = $1 for update', [locked])
    })()
    await meddled
  })
  await eventually(() => meddled !== undefined)
  await meddled
  await untilLooked(app, 10)

  t.equal((await eventsOf(databaseUrl, ending)).length, 2)
  t.strictSame([await statusOf(databaseUrl, ending), await statusOf(databaseUrl, locked)], ['complete', 'streaming'])
  await (await meddled)?.()
  await eventually(async () => await statusOf(databaseUrl, locked) === 'failed')
})

test('of hundreds of messages whose programs write no heartbeats, each is looked at', async (t) => {
  const { databaseUrl } = await startApp(t, TIMES)
  await ask(databaseUrl, `
    insert into messages (message_id, user_id, created_at) select gen_random_uuid(), 'ada', now() - n * interval '1 s' from generate_series(1, 350) n;
    insert into message_events (message_id, sequence_no, event_type, created_at)
    select message_id, 0, case when n % 50 = 0 then 'end' else 'answer' end, now() - interval '1 s'
    from (select message_id, row_number() over (order by created_at) as n from messages) m`)
  await eventually(async () => (await ask(databaseUrl, 'select from messages where status = \'complete\'')).length === 7)
  t.strictSame(await ask(databaseUrl, 'select status, event_type, count(*)::int from messages join message_events using (message_id) group by 1, 2 order by 1, 2'),
    [{ status: 'complete', event_type: 'end', count: 7 }, { status: 'streaming', event_type: 'answer', count: 343 }])
})

test('of more messages than are looked at in one go, whose rows were all locked for longer than producerIdleMs, no living one is ended', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const { app } = await startApp(t, { heartbeatMs: 500, producerIdleMs: 1_500, reconcileMs: 50, databaseUrl })
  const other = await startApp(t, { heartbeatMs: 300, producerIdleMs: 1_500, reconcileMs: 600_000, databaseUrl, migrate: false })
  await ask(databaseUrl, `
    insert into messages (message_id, epoch, heartbeat_at) select gen_random_uuid(), 1, now() - interval '100 ms' from generate_series(1, 150)`)
  const message = await other.app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.record('answer', {}), true)
  const held = await holdLock(t, databaseUrl, 'select from messages for update')
  await eventually(async () => (await ask(databaseUrl, 'select from messages where heartbeat_at > now() - interval \'2 s\'')).length === 0)

  // Their processes renew them before this one's does
  await held.query('update messages set heartbeat_at = clock_timestamp() where message_id <> $1', [message.messageId])
  await held.query('commit')
  await untilLooked(app, 10)

  t.equal(message.signal.aborted, false)
  t.equal(await message.end(), true)
  t.equal(await statusOf(databaseUrl, message.messageId), 'complete')
})

test('a message that cannot be ended keeps no other from being ended, dead or silent', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t, { ...TIMES, producerSilenceMs: 800 })
  const refused = await makeOrphan(databaseUrl, 'heartbeat_at = now()')
  await ask(databaseUrl, `
    create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused by the test'; end $$;
    create trigger refuse before update of status on messages for each row when (new.message_id = '${refused}') execute function refuse()`)
  await ask(databaseUrl, 'update messages set heartbeat_at = now() - interval \'1 hour\'')
  const dead = await makeOrphan(databaseUrl)
  const silent = await app.journal.openMessage({ userId: 'ada' })
  t.equal(await silent.record('answer', {}), true)

  await eventually(async () => await statusOf(databaseUrl, dead) === 'failed')
  await eventually(async () => await statusOf(databaseUrl, silent.messageId) === 'failed')

  t.equal(await statusOf(databaseUrl, refused), 'streaming')
  t.match(linesAbout(lines, 'a message could not be judged')[0], { level: 50, messageId: refused, err: { message: 'refused by the test' } })
})

test('while takeOver thinks about one message, the others are judged', async (t) => {
  const answered = gate()
  const asked: string[] = []
  const { databaseUrl } = await startApp(t, {
    ...TIMES,
    async takeOver ({ messageId }) {
      if (asked.push(messageId) === 1) await answered.opened
      return null
    }
  })
  const slow = await makeOrphan(databaseUrl)
  await eventually(async () => (await ask(databaseUrl, 'select from messages where epoch = 2')).length === 1)
  const other = await makeOrphan(databaseUrl)

  await eventually(async () => await statusOf(databaseUrl, other) === 'failed')
  t.equal(await statusOf(databaseUrl, slow), 'streaming')
  answered.open()
  await eventually(async () => await statusOf(databaseUrl, slow) === 'failed')
})

test('a message that nobody takes over is ended later when it cannot be ended at once', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  let release: (() => Promise<void>) | undefined
  const { app, lines } = await startApp(t, {
    ...TIMES,
    databaseUrl,
    async takeOver ({ messageId }) {
      release ??= await lock(t, databaseUrl, 'select from messages where message_id = $1 for update', [messageId])
      return null
    }
  })
  const messageId = await makeOrphan(databaseUrl)

  await eventually(() => linesAbout(lines, 'could not be ended yet').length === 1)
  t.equal(app.journal.stats().producers, 0)
  await release?.()
  await eventually(async () => await statusOf(databaseUrl, messageId) === 'failed')

  t.strictSame(await lastEvent(databaseUrl, messageId), STALE)
})

for (const mode of ['share row exclusive', 'access exclusive']) {
  test(`producers whose heartbeats a table lock (${mode}) keeps back for longer than producerIdleMs are not ended`, async (t) => {
    const { app, databaseUrl } = await startApp(t, TIMES)
    const message = await app.journal.openMessage({ userId: 'ada' })
    t.equal(await message.record('answer', {}), true)
    const unlock = await lock(t, databaseUrl, `lock table messages in ${mode} mode`)

    await ask(databaseUrl, 'select pg_sleep(1.5)')
    await unlock()

    await untilLooked(app, 20)
    t.equal(message.signal.aborted, false)
    t.equal(await message.end(), true)
    t.equal(await statusOf(databaseUrl, message.messageId), 'complete')
  })
}

test('a heartbeat from the future is renewed, and its message is ended producerIdleMs later if nobody lives', async (t) => {
  const { databaseUrl } = await startApp(t, TIMES)
  const messageId = await makeOrphan(databaseUrl, 'heartbeat_at = now() + interval \'1 hour\'')

  await eventually(async () => (await ask(databaseUrl, 'select from messages where heartbeat_at <= now()')).length === 1)
  t.equal(await statusOf(databaseUrl, messageId), 'streaming')

  await eventually(async () => await statusOf(databaseUrl, messageId) === 'failed')
  t.strictSame(await lastEvent(databaseUrl, messageId), STALE)
  t.strictSame(await ask(databaseUrl, 'select ended_at - heartbeat_at >= interval \'0.6 s\' as late from messages'), [{ late: true }])
})

test('an event from the future keeps no message alive: the clock was set back behind it', async (t) => {
  const { databaseUrl } = await startApp(t, TIMES)
  const messageId = await makeOrphan(databaseUrl)
  await ask(databaseUrl, 'update message_events set created_at = now() + interval \'1 hour\'')

  await eventually(async () => await statusOf(databaseUrl, messageId) === 'failed')
  t.strictSame(await lastEvent(databaseUrl, messageId), STALE)
})

test('a new row of another program is a sign of life for a message with a lease', async (t) => {
  const { app, databaseUrl } = await startApp(t, TIMES)
  const messageId = await makeOrphan(databaseUrl)
  for (let no = 1; no < 30; no++) {
    await ask(databaseUrl, 'insert into message_events (message_id, sequence_no, event_type) values ($1, $2, \'answer\')', [messageId, no])
    await untilLooked(app, 1)
  }
  t.equal(await statusOf(databaseUrl, messageId), 'streaming')
  await eventually(async () => await statusOf(databaseUrl, messageId) === 'failed')
  t.equal((await eventsOf(databaseUrl, messageId)).length, 31)
})

test('a message that another producer has opened again in the meantime is not ended', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const { app } = await startApp(t, { databaseUrl, ...TIMES })
  const messageId = await makeOrphan(databaseUrl, 'heartbeat_at = now()') // not dead before its row is locked
  const unlock = await lock(t, databaseUrl, 'update messages set epoch = 2, heartbeat_at = now() where message_id = $1', [messageId])
  await untilLooked(app, 10)
  t.equal(await statusOf(databaseUrl, messageId), 'streaming')
  await unlock()
  await eventually(async () => await statusOf(databaseUrl, messageId) === 'failed')
})

test('a look for dead producers that fails is logged, and made again', async (t) => {
  const { databaseUrl, lines } = await startApp(t, TIMES)
  const database = await observe(t, databaseUrl)
  await database.query('alter table messages rename column handed_over to elsewhere')
  await eventually(() => linesAbout(lines, 'the producers could not be looked after').length > 0)
  t.match(linesAbout(lines, 'the producers could not be looked after')[0], { level: 50, err: { code: '42703' } })
  await database.query('alter table messages rename column elsewhere to handed_over')
  const messageId = await makeOrphan(databaseUrl)
  await eventually(async () => await statusOf(databaseUrl, messageId) === 'failed')
})
