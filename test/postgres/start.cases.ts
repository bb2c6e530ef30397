import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { test, type Test } from 'tap'
import { migrate } from '../../plugin/ops/migrate.js'
import { startApp } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { ask, eventsOf, eventually, insertEvents, makeMessage } from '../helper/journal.js'
import { connect, ids } from '../helper/sse.js'
import { linesAbout, observe } from '../helper/writing.js'

/** Tables of the newest version, and a statement that changes them. */
async function makeTables (t: Test, change = 'select', to?: number): Promise<string> {
  const databaseUrl = await createTestDatabase(t)
  const pool = new pg.Pool({ connectionString: databaseUrl })
  t.teardown(() => pool.end())
  pool.on('error', () => {}) // its database is dropped
  await migrate(pool, to === undefined ? {} : { to })
  await pool.query(change)
  return databaseUrl
}

/** A role without any rights, and the URL with which an app is that role. */
async function makeRole (t: Test, databaseUrl: string): Promise<{ role: string, url: string }> {
  const role = `journal_test_${randomBytes(6).toString('hex')}`
  await ask(databaseUrl, `create role ${role}`)
  t.teardown(async () => {
    await ask(databaseUrl, `drop owned by ${role}`)
    await ask(databaseUrl, `drop role ${role}`)
  })
  const url = new URL(databaseUrl)
  url.searchParams.set('options', `-c role=${role}`)
  return { role, url: url.href }
}

test('a role without rights fails the start with what it may not do', async (t) => {
  const databaseUrl = await makeTables(t)
  const { role, url } = await makeRole(t, databaseUrl)
  const refused = (message: RegExp) => ({ code: 'FST_JOURNAL_UNUSABLE_TABLES', message })

  await t.rejects(startApp(t, { databaseUrl: url, migrate: false }), refused(/permission denied for table journal_schema_version/))
  await ask(databaseUrl, `grant select on all tables in schema public to ${role}`)
  await t.rejects(startApp(t, { databaseUrl: url, migrate: false }), refused(new RegExp(`the role ${role} may not insert on messages; .*the role ${role} may not insert on message_events`)))
  await ask(databaseUrl, `grant insert, update, delete on messages, message_events, journal_state to ${role}`)
  await ask(databaseUrl, 'revoke execute on function journal_append_some from public')
  await t.rejects(startApp(t, { databaseUrl: url, migrate: false }), refused(new RegExp(`the role ${role} may not call journal_append_some\\(integer,`)))

  await ask(databaseUrl, `grant execute on function journal_append_some to ${role}`)
  const { app } = await startApp(t, { databaseUrl: url, migrate: false })
  const message = await app.journal.openMessage({ userId: 'ada' })
  t.strictSame([await message.record('answer', {}), await message.touch(), await message.end()], [true, true, true])
  const messageId = await makeMessage(databaseUrl)
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), true)
  t.strictSame(await app.journal.cleanup({ olderThanDays: 1 }), { events: 0, messages: 0 })
})

test('a role that may not use the schema fails the start with that', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  await startApp(t, { databaseUrl, schema: 'journal' })
  const { url } = await makeRole(t, databaseUrl)
  await t.rejects(startApp(t, { databaseUrl: url, schema: 'journal', migrate: false }), { code: 'FST_JOURNAL_UNUSABLE_TABLES', message: /permission denied for schema journal/ })
})

for (const [what, change, reason] of [
  ['a column that is gone', 'alter table messages drop column ended_no', /messages has no column ended_no integer/],
  ['a column of another type', 'alter table message_events alter column payload type jsonb', /message_events has no column payload json$/],
  ['a trigger that is disabled', 'alter table message_events disable trigger journal_raise_last_no', /message_events has no trigger journal_raise_last_no, or it is disabled/],
  ['a trigger that is gone', 'drop trigger journal_note_end on messages', /messages has no trigger journal_note_end, or it is disabled/],
  ['a trigger that fires for replicas only', 'alter table message_events enable replica trigger zz_journal_refuse_late', /message_events has no trigger zz_journal_refuse_late, or it is disabled/]
] as const) {
  test(`${what} fails the start with the reason`, async (t) => {
    const databaseUrl = await makeTables(t, change)
    await t.rejects(startApp(t, { databaseUrl, migrate: false }), { code: 'FST_JOURNAL_UNUSABLE_TABLES', message: reason })
  })
}

for (const [what, change] of [
  ['of more columns', 'alter table message_events add column note text default \'\', add column tenant integer'],
  ['whose texts are varchar', 'alter table messages alter column user_id type varchar(100); alter table message_events alter column event_type type varchar(200)']
]) {
  test(`tables ${what} are used`, async (t) => {
    const databaseUrl = await makeTables(t, change)
    const { app, url } = await startApp(t, { databaseUrl, migrate: false })
    const message = await app.journal.openMessage({ userId: 'ada' })
    t.equal(await message.record('answer', {}), true)
    t.equal(await message.end(), true)
    const reader = await connect(t, `${url}/api/messages/${message.messageId}/events`)
    await reader.ended
    t.strictSame(ids(reader), ['0', '1'])
  })
}

for (const [what, change, guard, warnings] of [
  ['as the migrations make them', 'select', 'triggers', 0],
  ['with a foreign key', 'alter table message_events add foreign key (message_id) references messages on delete cascade', 'foreign key', 0],
  ['without a guard', 'drop trigger journal_delete_events on messages', null, 1],
  ['whose guard is disabled', 'alter table messages disable trigger journal_delete_events', null, 1]
] as const) {
  test(`the start says what guards the events of tables ${what}`, async (t) => {
    const databaseUrl = await makeTables(t, change)
    const { lines } = await startApp(t, { databaseUrl, migrate: false })
    t.match(linesAbout(lines, 'the tables are ready'), [{ level: 30, guard }])
    t.match(lines.filter(({ level }) => level >= 40), warnings === 0 ? [] : [{ level: 40, msg: /events can lose their message/ }])
    t.equal(lines.filter(({ level }) => level >= 40).length, warnings)
  })
}

test('a database that is not UTF8 starts with a warning; what it cannot hold is false, and an end with such a payload is an end', async (t) => {
  const server = process.env.TEST_DATABASE_URL ?? ''
  const name = `journal_test_latin1_${randomBytes(6).toString('hex')}`
  await ask(server, `create database ${name} template template0 encoding 'LATIN1' locale 'C'`)
  t.teardown(() => ask(server, `drop database ${name} with (force)`))
  const databaseUrl = new URL(server)
  databaseUrl.pathname = `/${name}`
  const { app, url, lines } = await startApp(t, { databaseUrl: databaseUrl.href, publicError: () => 'leider nicht 😀' })
  t.match(linesAbout(lines, 'not UTF8'), [{ level: 40, encoding: 'LATIN1' }])
  const [message, failing] = [await app.journal.openMessage({ userId: 'ada' }), await app.journal.openMessage({ userId: 'ada' })]

  t.strictSame(await Promise.all([message.record('answer', { text: 'größer' }), message.record('answer', { text: '漢字' }), message.record('漢字', {})]), [true, false, false])
  t.equal(await message.end({ text: '漢字' }), true)
  t.equal(await failing.fail(new Error('漢字')), true)

  t.strictSame((await eventsOf(databaseUrl.href, message.messageId)).map(({ payload }) => payload), [{ text: 'größer' }, { type: 'end' }])
  t.strictSame((await eventsOf(databaseUrl.href, failing.messageId)).map(({ payload }) => payload), [{ type: 'error', error: 'The answer could not be completed.', code: 'producer_failed' }])
  t.strictSame(await ask(databaseUrl.href, 'select status, error from messages order by created_at'), [{ status: 'complete', error: null }, { status: 'failed', error: '??' }])
  const reader = await connect(t, `${url}/api/messages/${message.messageId}/events`)
  await reader.ended
  t.strictSame(reader.events.map(({ data }) => JSON.parse(data)), [{ text: 'größer' }, { type: 'end' }])
})

/** What a release before this one has left: `count` messages of which every tenth has events, none of them counted. */
async function makeOld (t: Test, count: number): Promise<string> {
  const databaseUrl = await makeTables(t, `
    insert into messages (message_id, user_id) select gen_random_uuid(), 'ada' from generate_series(1, ${count});
    insert into message_events (message_id, sequence_no, event_type)
    select message_id, no, 'answer' from (select message_id from messages order by message_id limit ${Math.ceil(count / 10)}) m, generate_series(0, 4) no`, 2)
  return databaseUrl
}

const UNCOUNTED = 'select from messages where last_no is null'
const WRONG = `
  select from messages m
  where last_no is distinct from coalesce((select max(sequence_no) from message_events e where e.message_id = m.message_id), -1)`

test('the newest numbers of old messages are counted behind the start, and only once', async (t) => {
  const databaseUrl = await makeOld(t, 2_500)
  const { app } = await startApp(t, { databaseUrl })

  await eventually(async () => (await ask(databaseUrl, 'select from journal_state where counted')).length === 1)

  t.strictSame(await ask(databaseUrl, WRONG), [])
  await app.close()
  await ask(databaseUrl, 'update messages set last_no = null')
  const again = await startApp(t, { databaseUrl, migrate: false })
  const message = await again.app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.end(), true)
  t.equal((await ask(databaseUrl, UNCOUNTED)).length, 2_500, 'the state says that there is nothing to count')
})

test('a message that somebody holds is not waited for: its first append counts, and so does the next start', async (t) => {
  const databaseUrl = await makeOld(t, 1_500)
  const database = await observe(t, databaseUrl)
  const [held] = await ask<{ id: string }>(databaseUrl, 'select message_id as id from message_events limit 1')
  const messageId = held?.id ?? ''
  await migrateTo(databaseUrl)
  await database.query('begin')
  await database.query('select from messages where message_id = $1 for update', [messageId])

  const { app } = await startApp(t, { databaseUrl, migrate: false })
  await eventually(async () => (await ask(databaseUrl, UNCOUNTED)).length === 1)
  await eventually(async () => (await ask(databaseUrl, 'select from pg_stat_activity where datname = current_database() and query ~ \'journal_count\' and state <> \'idle\' and pid <> pg_backend_pid()')).length === 0)
  await database.query('rollback')
  t.equal(await app.journal.recordEvent(messageId, 2, 'answer', { by: 'us' }), true)
  t.equal((await eventsOf(databaseUrl, messageId)).at(-1)?.sequenceNo, 5)
  await app.close()
  t.strictSame(await ask(databaseUrl, 'select counted from journal_state'), [{ counted: false }])

  await startApp(t, { databaseUrl, migrate: false })
  await eventually(async () => (await ask(databaseUrl, 'select from journal_state where counted')).length === 1)
  t.strictSame(await ask(databaseUrl, WRONG), [])
})

async function migrateTo (databaseUrl: string): Promise<void> {
  const pool = new pg.Pool({ connectionString: databaseUrl })
  await migrate(pool)
  await pool.end()
}

test('messages that are not counted yet take events of every writer', async (t) => {
  const databaseUrl = await makeOld(t, 30)
  await migrateTo(databaseUrl)
  const messages = await ask<{ id: string }>(databaseUrl, 'select distinct message_id as id from message_events')
  await ask(databaseUrl, 'update journal_state set counted = true') // nobody counts but who appends
  const { app } = await startApp(t, { databaseUrl, migrate: false })
  t.equal((await ask(databaseUrl, UNCOUNTED)).length, 30)
  const [first, second, third] = messages.map(({ id }) => id)

  t.equal(await app.journal.recordEvent(first ?? '', 5, 'answer', { by: 'us' }), true)
  await insertEvents(databaseUrl, second ?? '', { first: 5 })
  await t.rejects(insertEvents(databaseUrl, second ?? '', { first: 4 }), { code: '23505' })
  const message = await app.journal.openMessage({ userId: 'ada', messageId: second ?? '' })
  t.equal(message.lastSequenceNo, 5)
  t.equal(await message.record('answer', { by: 'the holder' }), true)

  const opened = await app.journal.openMessage({ userId: 'ada', messageId: third ?? '' })
  t.equal(await opened.record('answer', { by: 'the holder' }), true)
  for (const id of [first, second, third]) t.ok((await eventsOf(databaseUrl, id ?? '')).every(({ sequenceNo }, place) => sequenceNo === place))
  t.strictSame((await eventsOf(databaseUrl, second ?? '')).map(({ sequenceNo }) => sequenceNo), [0, 1, 2, 3, 4, 5, 6])
})

test('a message that is not counted yet can be stopped, and its end stands behind its events', async (t) => {
  const databaseUrl = await makeOld(t, 10)
  await migrateTo(databaseUrl)
  await ask(databaseUrl, 'update journal_state set counted = true')
  const { url } = await startApp(t, { databaseUrl, migrate: false })
  const messages = await ask<{ id: string }>(databaseUrl, 'select message_id as id from messages')
  for (const { id } of messages) t.equal((await connect(t, `${url}/api/messages/${id}/stop`, { method: 'POST' })).status, 202)
  t.strictSame(await ask(databaseUrl, 'select ended_no, last_no, count(*)::int from messages group by 1, 2 order by 1'), [{ ended_no: 0, last_no: 0, count: 9 }, { ended_no: 5, last_no: 5, count: 1 }])
})

test('numbers that cannot be counted are logged, and cost nothing else', async (t) => {
  const databaseUrl = await makeOld(t, 20)
  await migrateTo(databaseUrl)
  await ask(databaseUrl, `
    create function refuse () returns trigger language plpgsql as $$ begin raise exception 'refused by the test'; end $$;
    create trigger refuse before update of last_no on messages for each row when (old.last_no is null) execute function refuse()`)
  const { app, lines } = await startApp(t, { databaseUrl, migrate: false })
  await eventually(() => linesAbout(lines, 'could not be counted').length > 0)
  t.match(linesAbout(lines, 'could not be counted'), [{ level: 50, err: { message: 'refused by the test' } }])
  const message = await app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.end(), true)
})

test('an app that closes while it counts stops counting', async (t) => {
  const databaseUrl = await makeOld(t, 30_000)
  const { app, lines } = await startApp(t, { databaseUrl })
  await app.close()
  t.not((await ask(databaseUrl, UNCOUNTED)).length, 0)
  t.strictSame(lines.filter(({ level }) => level >= 40), [])
  t.strictSame(await ask(databaseUrl, 'select counted from journal_state'), [{ counted: false }])
})
