import pg from 'pg'
import { test, type Test } from 'tap'
import { startApp, type TestApp } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { ask, eventsOf, has, insertEvents, makeMessage, statusOf } from '../helper/journal.js'
import { connect, ids } from '../helper/sse.js'
import { linesAbout, observe } from '../helper/writing.js'

/** Runs SQL on every connection of the app's pool. */
async function onEveryConnection ({ app }: TestApp, sql: string): Promise<void> {
  const clients = await Promise.all(Array.from({ length: app.pg.pool.options.max }, () => app.pg.pool.connect()))
  for (const client of clients) {
    await client.query(sql)
    client.release()
  }
}

/** Everything that the journal does with Postgres, each with the answer that it should have. */
async function proveItWorks (t: Test, { app, url, databaseUrl }: TestApp): Promise<void> {
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
  t.equal(await message.record('answer', { n: 0 }), true)
  t.strictSame(await Promise.all([message.record('answer', { n: 1 }), message.record('answer', { n: 2 }), message.touch()]), [true, true, true])
  await reader.until(has(3))
  t.equal(await app.journal.recordEvent(messageId, 1, 'answer', { n: 3 }), true, 'a number that is taken')
  const again = await app.journal.openMessage({ userId: 'ada', messageId })
  t.equal(again.lastSequenceNo, 3)
  t.equal(await message.record('answer', {}), false, 'fenced')
  t.equal(await again.record('answer', { n: 4 }), true)
  t.equal(await again.end(), true)
  await reader.ended
  t.strictSame(ids(reader), ['0', '1', '2', '3', '4', '5'])
  t.strictSame((await eventsOf(databaseUrl, messageId)).map(({ payload }) => payload.n ?? payload.type), [0, 1, 2, 3, 4, 'end'])
  const late = await connect(t, `${url}/api/messages/${messageId}/events`, { headers: { 'last-event-id': '3' } })
  await late.ended
  t.strictSame(ids(late), ['4', '5'])
  t.equal((await connect(t, `${url}/api/messages/${messageId}/events`, { headers: { 'last-event-id': '5' } })).status, 204)

  const stopped = await makeMessage(databaseUrl)
  t.equal((await connect(t, `${url}/api/messages/${stopped}/stop`, { method: 'POST' })).status, 202)
  t.equal(await statusOf(databaseUrl, stopped), 'stopped')
  t.strictSame(await app.journal.cleanup({ olderThanDays: 1 }), { events: 0, messages: 0 })
}

async function inDatabase (t: Test, setting: string): Promise<string> {
  const databaseUrl = await createTestDatabase(t)
  await ask(databaseUrl, `alter database ${new URL(databaseUrl).pathname.slice(1)} set ${setting}`)
  return databaseUrl
}

for (const level of ['repeatable read', 'serializable']) {
  test(`in a database whose transactions are ${level} unless they say otherwise, every committed event is delivered`, async (t) => {
    const databaseUrl = await inDatabase(t, `default_transaction_isolation = '${level}'`)
    const one = await startApp(t, { databaseUrl })
    const two = await startApp(t, { databaseUrl, migrate: false })
    t.strictSame((await one.app.pg.query('show transaction_isolation')).rows, [{ transaction_isolation: level }])
    await proveItWorks(t, one)

    const message = await one.app.journal.openMessage({ userId: 'ada' })
    const { messageId } = message
    const reader = await connect(t, `${two.url}/api/messages/${messageId}/events`)
    const answers = await Promise.all(Array.from({ length: 150 }, async (_, n) => [
      await message.record('answer', { n }),
      await two.app.journal.recordEvent(messageId, n, 'answer', { by: 'the other', n })
    ]))
    t.equal(await message.end(), true)
    await reader.ended
    t.ok(answers.flat().every(Boolean))
    t.strictSame(ids(reader), (await eventsOf(databaseUrl, messageId)).map(({ sequenceNo }) => String(sequenceNo)))
    t.equal(reader.events.length, 301)
  })
}

for (const [what, sql] of [
  ['DISCARD ALL', 'discard all'],
  ['DEALLOCATE ALL', 'deallocate all']
] as const) {
  test(`sessions that have lost their prepared statements by ${what} are as good as others`, async (t) => {
    const started = await startApp(t)
    await proveItWorks(t, started)
    await onEveryConnection(started, sql)
    await proveItWorks(t, started)
    await onEveryConnection(started, sql)
    await Promise.all([proveItWorks(t, started), proveItWorks(t, started)])
    t.strictSame(started.lines.filter(({ level, reason }) => level >= 40 && reason === undefined), [])
  })
}

test('a transaction in a session that has lost its prepared statements is begun again', async (t) => {
  const started = await startApp(t, { pool: { max: 1 }, reconcileMs: 600_000, heartbeatMs: 600_000, producerIdleMs: 1_200_000 })
  const { app, databaseUrl } = started
  const first = await app.journal.openMessage({ userId: 'ada' })
  const [before] = await ask<{ epoch: number }>(databaseUrl, 'select epoch from messages')
  await onEveryConnection(started, 'discard all')
  const second = await app.journal.openMessage({ userId: 'ada', messageId: first.messageId })
  await second.touch()
  await onEveryConnection(started, 'discard all')
  t.equal(await second.touch(), true)
  t.strictSame(await ask(databaseUrl, 'select epoch from messages'), [{ epoch: Number(before?.epoch) + 1 }])
  await onEveryConnection(started, 'select')
  t.strictSame((await app.pg.query('select count(*)::int as statements from pg_prepared_statements')).rows, [{ statements: 0 }], 'that session was closed')
})

test('sessions that lose their prepared statements after every use cost no event and no reader anything', async (t) => {
  const started = await startApp(t)
  started.app.pg.pool.on('release', (_error, client) => { Object(client).query?.('discard all').catch(() => {}) })
  await proveItWorks(t, started)
  await proveItWorks(t, started)
})

for (const change of [
  'alter table messages alter column user_id type varchar(100)',
  'alter table message_events alter column event_type type varchar(200)',
  'alter table messages add column note text',
  'alter table message_events add column note text default \'\''
]) {
  test(`the app works on while somebody runs ${change}`, async (t) => {
    const started = await startApp(t)
    await proveItWorks(t, started)
    await ask(started.databaseUrl, change)
    await proveItWorks(t, started)
  })
}

test('an app whose pool asks for binary results has them, and the journal works', async (t) => {
  const started = await startApp(t, { pool: { binary: true } })
  const askApp = async () => (await started.app.pg.query('select $1::point as point', ['(1,2)'])).rows
  const before = await askApp()
  t.notMatch(before, [{ point: { x: 1 } }], 'pg does not read it when it is binary')

  await proveItWorks(t, started)

  t.strictSame(await askApp(), before, 'a connection that the journal has used is as before')
  await onEveryConnection(started, 'select')
  t.strictSame(await askApp(), before)
})

test('whatever an app makes of the types of Postgres, the journal reads its own results', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const { builtins } = pg.types
  const kinds = [builtins.BOOL, builtins.INT4, builtins.INT8, builtins.FLOAT8, builtins.TEXT, builtins.JSON, builtins.UUID, builtins.TIMESTAMPTZ]
  const before = kinds.map((kind) => [kind, pg.types.getTypeParser(kind)] as const)
  for (const kind of kinds) pg.types.setTypeParser(kind, () => ({ mine: true }))
  const started = await startApp(t, { databaseUrl })
  t.strictSame((await started.app.pg.query('select true as answer')).rows, [{ answer: { mine: true } }])
  const message = await started.app.journal.openMessage({ userId: 'ada' })
  const restore = (): void => { for (const [kind, parse] of before) pg.types.setTypeParser(kind, parse) }
  t.teardown(restore)

  // The answers of the tests themselves are the app's
  t.equal(await message.record('answer', {}), true)
  const again = await started.app.journal.openMessage({ userId: 'ada', messageId: message.messageId })
  t.equal(again.lastSequenceNo, 0)
  t.equal(await started.app.journal.recordEvent(message.messageId, 0, 'answer', { n: 1 }), true)
  const reader = await connect(t, `${started.url}/api/messages/${message.messageId}/events`)
  await reader.until(has(2))
  t.equal(await again.end(), true)
  await reader.ended
  t.strictSame(ids(reader), ['0', '1', '2'])
  t.equal((await connect(t, `${started.url}/api/messages/${message.messageId}/events`, { headers: { 'last-event-id': '2' } })).status, 204)
  t.strictSame(await started.app.journal.cleanup({ olderThanDays: 1 }), { events: 0, messages: 0 })
  t.strictSame(await started.app.journal.migrate(), { from: 3, to: 3 })
  restore()
  t.equal((await eventsOf(databaseUrl, message.messageId)).length, 3)
})

for (const setting of [
  'statement_timeout = \'20s\'', 'search_path = \'public\', \'pg_temp\'', 'timezone = \'Pacific/Apia\'', 'datestyle = \'SQL, DMY\'', 'extra_float_digits = \'-15\'',
  'idle_session_timeout = \'200ms\''
]) {
  test(`a database with ${setting} is a database like others`, async (t) => {
    await proveItWorks(t, await startApp(t, { databaseUrl: await inDatabase(t, setting) }))
  })
}

const PARTITIONED = `
  create table messages (message_id uuid primary key, user_id text, status text not null default 'streaming', error text,
    epoch integer not null default 0, heartbeat_at timestamptz, created_at timestamptz not null default now());
  create table message_events (message_id uuid not null references messages on delete cascade, sequence_no integer not null, event_type text not null,
    payload json not null default '{}', created_at timestamptz not null default now(), primary key (message_id, sequence_no)) partition by hash (message_id);
  create table message_events_0 partition of message_events for values with (modulus 2, remainder 0);
  create table message_events_1 partition of message_events for values with (modulus 2, remainder 1)`

test('events in partitions: cleanup deletes what is old, and nothing that is young', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  await ask(databaseUrl, PARTITIONED)
  const started = await startApp(t, { databaseUrl, retentionDays: 0 })
  const messages = await Promise.all(Array.from({ length: 40 }, () => makeMessage(databaseUrl)))
  for (const messageId of messages) await insertEvents(databaseUrl, messageId, { count: 50 })
  const old = messages.slice(0, 20)
  await ask(databaseUrl, 'update message_events set created_at = now() - interval \'30 days\' where message_id = any ($1)', [old])
  await ask(databaseUrl, 'update messages set created_at = now() - interval \'30 days\'')
  // Rows of the two partitions have the same places within them
  t.ok((await ask(databaseUrl, 'select from message_events a join message_events b on a.ctid = b.ctid and a.tableoid <> b.tableoid limit 1')).length > 0)

  t.strictSame(await started.app.journal.cleanup({ olderThanDays: 14 }), { events: 1_000, messages: 20 })

  t.strictSame(await ask(databaseUrl, 'select count(*)::int as events, count(distinct message_id)::int as messages from message_events'), [{ events: 1_000, messages: 20 }])
  t.strictSame(await ask(databaseUrl, 'select from messages where message_id = any ($1)', [old]), [])
  await proveItWorks(t, started)
})

test('a table whose trigger throws an event away: the answer is false, and nothing is shown as committed', async (t) => {
  const { app, databaseUrl, url, lines } = await startApp(t)
  const database = await observe(t, databaseUrl)
  await database.query(`
    create function discard () returns trigger language plpgsql as $$ begin
      return case when new.payload ->> 'n' = '1' or new.ending then null else new end;
    end $$;
    create trigger discard before insert on message_events for each row execute function discard()`)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)

  t.strictSame(await Promise.all([0, 1, 2].map((n) => message.record('answer', { n }))), [true, false, true])
  t.equal(await message.record('answer', { n: 1 }), false)
  t.equal(await app.journal.recordEvent(messageId, 9, 'answer', { n: 1 }), false)
  t.equal(await message.end(), false)

  t.match(linesAbout(lines, 'an event was not recorded')[0], { level: 50, messageId, err: { message: /the table discards/ } })
  t.strictSame((await eventsOf(databaseUrl, messageId)).map(({ sequenceNo, payload }) => [sequenceNo, payload.n]), [[0, 0], [1, 2]])
  t.equal(await statusOf(databaseUrl, messageId), 'streaming', 'no status without its event')
  t.equal((await connect(t, `${url}/api/messages/${messageId}/stop`, { method: 'POST' })).status, 503)
  t.equal(await statusOf(databaseUrl, messageId), 'streaming')
  await reader.until(({ events }) => events.some(({ data }) => data === '{"n":2}'))
  t.strictSame(reader.events.filter(({ id }) => id !== undefined).map(({ id, data }) => [id, data]), [['0', '{"n":0}'], ['1', '{"n":2}']])
})
