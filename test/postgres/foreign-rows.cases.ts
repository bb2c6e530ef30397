import { randomBytes, randomUUID } from 'node:crypto'
import pg from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test, type Test } from 'tap'
import { startApp } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { ask, eventsOf, eventually, has, insertEvents, makeMessage } from '../helper/journal.js'
import { connect, ids } from '../helper/sse.js'
import { linesAbout } from '../helper/writing.js'

const TAKEN = { code: '23505', constraint: 'message_events_pkey', table: 'message_events' }
const INSERT = 'insert into message_events (message_id, sequence_no, event_type, payload) values ($1, $2, \'foreign\', $3)'
const LEVELS = ['read committed', 'repeatable read', 'serializable']

/** Another program, on a connection of its own. */
async function openClient (t: Test, databaseUrl: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: databaseUrl })
  client.on('error', () => {}) // a test that fails drops its database
  await client.connect()
  t.teardown(() => client.end())
  return client
}

async function start (t: Test, databaseUrl?: string) {
  const started = await startApp(t, databaseUrl === undefined ? {} : { databaseUrl })
  const client = await openClient(t, started.databaseUrl)
  return {
    ...started,
    client,
    read: async (messageId: string) => await connect(t, `${started.url}/api/messages/${messageId}/events`),
    numbers: async (messageId: string) => (await eventsOf(started.databaseUrl, messageId)).map(({ sequenceNo }) => sequenceNo)
  }
}

test('a foreign number above the newest leaves a hole that no later row fills, and readers get every row', async (t) => {
  const { app, client, read, numbers } = await start(t)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  const reader = await read(messageId)
  t.equal(await message.record('answer', { n: 0 }), true)
  await client.query(INSERT, [messageId, 1_000, '{}'])

  t.strictSame(await Promise.all([message.record('answer', { n: 1 }), message.record('answer', { n: 2 })]), [true, true])
  t.equal(await app.journal.recordEvent(messageId, 5, 'answer', { n: 3 }), true)
  await t.rejects(client.query(INSERT, [messageId, 500, '{}']), TAKEN)
  t.equal(await message.end(), true)

  await reader.ended
  t.strictSame(await numbers(messageId), [0, 1_000, 1_001, 1_002, 1_003, 1_004])
  t.strictSame(ids(reader), ['0', '1000', '1001', '1002', '1003', '1004'])
})

test('a foreign number at or below the newest is refused with unique_violation, and the newest plus one is taken', async (t) => {
  const { app, client, numbers } = await start(t)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  for (let n = 0; n < 3; n++) await message.record('answer', { n })
  await client.query(INSERT, [messageId, 7, '{}'])

  for (const number of [0, 2, 3, 6, 7]) await t.rejects(client.query(INSERT, [messageId, number, '{}']), TAKEN, String(number))
  await client.query(INSERT, [messageId, 8, '{}'])
  t.equal(await message.record('answer', {}), true)

  t.strictSame(await numbers(messageId), [0, 1, 2, 7, 8, 9])
})

test('after a fence a foreign number may still follow the newest row, but no row of ours goes below the fence', async (t) => {
  const { app, client, databaseUrl, numbers } = await start(t)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  t.equal(await message.record('answer', { n: 0 }), true)
  await client.query('select journal_fence(100, array[$1::uuid], array[null::int], array[40])', [messageId])

  await client.query(INSERT, [messageId, 1, '{}'])
  await t.rejects(client.query(INSERT, [messageId, 0, '{}']), TAKEN)
  t.strictSame(await ask(databaseUrl, 'select last_no from messages'), [{ last_no: 40 }])
  t.equal(await message.record('answer', { n: 1 }), true)
  await t.rejects(client.query(INSERT, [messageId, 2, '{}']), TAKEN)

  t.strictSame(await numbers(messageId), [0, 1, 41])
})

for (const level of LEVELS) {
  test(`foreign writers under ${level}, beside two that use the library: every row that was committed is read, once and in order`, async (t) => {
    const { app, databaseUrl, read } = await start(t)
    const other = await startApp(t, { databaseUrl, migrate: false })
    const message = await app.journal.openMessage({ userId: 'ada' })
    const { messageId } = message
    const reader = await read(messageId)
    const committed = new Set<string>()

    /** As the Python system does: the newest plus one, and again when somebody else has it. */
    async function writeForeign (name: string): Promise<void> {
      const client = await openClient(t, databaseUrl)
      for (let n = 0; n < 15;) {
        try {
          await client.query(`begin isolation level ${level}`)
          const { rows: [newest] } = await client.query('select coalesce(max(sequence_no), -1) as no from message_events where message_id = $1', [messageId])
          await client.query(INSERT, [messageId, newest.no + 1, JSON.stringify({ key: `${name} ${n}` })])
          await client.query('commit')
          committed.add(`${name} ${n++}`)
        } catch (error) {
          await client.query('rollback')
          t.match(Object(error).code, level === 'read committed' ? /^23505$/ : /^(23505|40001)$/, 'no deadlock')
        }
      }
    }

    async function write (name: string, record: (n: number) => Promise<boolean>): Promise<void> {
      for (let n = 0; n < 40; n++) if (await record(n)) committed.add(`${name} ${n}`)
    }

    await Promise.all([
      writeForeign('one'), writeForeign('two'), writeForeign('three'),
      write('holder', async (n) => await message.record('answer', { key: `holder ${n}` })),
      write('recorder', async (n) => await other.app.journal.recordEvent(messageId, n, 'answer', { key: `recorder ${n}` }))
    ])
    t.equal(await message.end(), true)
    await reader.ended

    const events = await eventsOf(databaseUrl, messageId)
    const keys = events.slice(0, -1).map(({ payload }) => String(payload.key))
    t.equal(committed.size, 3 * 15 + 2 * 40)
    t.strictSame([...keys].sort(), [...committed].sort())
    t.strictSame(reader.events.slice(0, -1).map(({ data }) => JSON.parse(data).key), keys)
    t.strictSame(ids(reader), events.map(({ sequenceNo }) => String(sequenceNo)))
  })
}

for (const level of LEVELS.slice(1)) {
  for (const [what, fencedNo] of [['', null], [' although the fence stands above both', 40]] as const) {
    test(`a foreign row of a ${level} transaction that cannot see a newer row is refused${what}`, async (t) => {
      const { app, client, databaseUrl, numbers } = await start(t)
      const message = await app.journal.openMessage({ userId: 'ada' })
      const { messageId } = message
      t.equal(await message.record('answer', {}), true)
      if (fencedNo !== null) await client.query('select journal_fence(100, array[$1::uuid], array[null::int], array[$2::int])', [messageId, fencedNo])
      const older = await openClient(t, databaseUrl)
      await older.query(`begin isolation level ${level}`)
      await older.query('select from message_events')

      await client.query(INSERT, [messageId, 5, '{}'])

      await t.rejects(older.query(INSERT, [messageId, 3, '{}']), { code: '40001' })
      await older.query('rollback')
      t.strictSame(await numbers(messageId), [0, 5])
    })
  }
}

test('a foreign row waits for a row of ours that is being committed, and for its own message only', async (t) => {
  const { app, client, databaseUrl, numbers } = await start(t)
  const [message, other] = [await app.journal.openMessage({ userId: 'ada' }), await app.journal.openMessage({ userId: 'ada' })]
  const writer = await openClient(t, databaseUrl)
  await writer.query('begin')
  await writer.query(INSERT, [message.messageId, 0, '{}'])

  const late = client.query(INSERT, [message.messageId, 0, '{}'])
  const refused = t.rejects(late, TAKEN)
  const recorded = message.record('answer', {})
  t.equal(await other.record('answer', {}), true)
  await eventually(async () => (await ask(databaseUrl, 'select from pg_locks where not granted')).length > 0)
  await writer.query('commit')

  await refused
  t.equal(await recorded, true)
  t.strictSame(await numbers(message.messageId), [0, 1])
})

test('a foreign transaction that rolls back takes its numbers with it', async (t) => {
  const { app, client, numbers } = await start(t)
  const message = await app.journal.openMessage({ userId: 'ada' })
  await client.query('begin')
  await client.query(INSERT, [message.messageId, 90, '{}'])
  await client.query('rollback')
  t.equal(await message.record('answer', {}), true)
  t.strictSame(await numbers(message.messageId), [0])
})

test('rows that are copied in are foreign rows like others', async (t) => {
  const { app, client, read, numbers } = await start(t)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  const reader = await read(messageId)
  t.equal(await message.record('answer', {}), true)
  const copy = async (...lines: Array<[string, number]>) => {
    const stream = client.query(copyFrom('copy message_events (message_id, sequence_no, event_type) from stdin'))
    await pipeline(Readable.from(lines.map(([id, no]) => `${id}\t${no}\tanswer\n`)), stream)
  }

  await copy([messageId, 3], [messageId, 4])
  await t.rejects(copy([messageId, 2]), TAKEN)
  await t.rejects(copy([messageId, 5], [messageId, 5]), TAKEN)
  await t.rejects(copy([messageId, 5], [randomUUID(), 0]), { code: '23503' })

  t.equal(await message.end(), true)
  await reader.ended
  t.strictSame(await numbers(messageId), [0, 3, 4, 5])
  t.strictSame(ids(reader), ['0', '3', '4', '5'])
})

test('a row that came in past the triggers, as a replica applies it, is in nobody\'s way', async (t) => {
  const { app, client, numbers } = await start(t)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  t.equal(await message.record('answer', { n: 0 }), true)
  await client.query('set session_replication_role = replica')
  await client.query(INSERT, [messageId, 1, '{"by":"a replica"}'])
  await client.query(INSERT, [messageId, 2, '{"by":"a replica"}'])

  t.strictSame(await Promise.all([message.record('answer', { n: 1 }), message.record('answer', { n: 2 })]), [true, true])
  t.equal(await app.journal.recordEvent(messageId, 1, 'answer', { n: 3 }), true)
  t.equal(await message.end(), true)
  t.strictSame(await numbers(messageId), [0, 1, 2, 3, 4, 5, 6])
})

test('rows of savepoints raise the number as they are kept or rolled back', async (t) => {
  const { app, client, databaseUrl, numbers } = await start(t)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  const lastNo = async () => (await client.query<{ last_no: number }>('select last_no from messages')).rows[0]?.last_no
  await client.query('begin')
  await client.query('savepoint rows')
  await client.query(INSERT, [messageId, 5, '{}'])
  t.equal(await lastNo(), 5)
  await client.query('rollback to rows')
  t.equal(await lastNo(), -1)
  await client.query(INSERT, [messageId, 3, '{}'])
  await client.query('release rows')
  await client.query(INSERT, [messageId, 4, '{}'])
  await client.query('commit')

  t.strictSame(await ask(databaseUrl, 'select last_no from messages'), [{ last_no: 4 }])
  t.equal(await message.record('answer', {}), true)
  t.strictSame(await numbers(messageId), [3, 4, 5])
})

test('one INSERT may hold rows of several messages, each in ascending order, and is refused as a whole', async (t) => {
  const { app, client, databaseUrl, numbers } = await start(t)
  const [a, b] = [await makeMessage(databaseUrl), await makeMessage(databaseUrl)]
  const insert = async (...rows: Array<[string, number]>) => await client.query(`
    insert into message_events (message_id, sequence_no, event_type)
    select (value ->> 0)::uuid, (value ->> 1)::int, 'foreign' from json_array_elements($1::json)`, [JSON.stringify(rows)])

  await t.rejects(insert([a, 2], [b, 1], [a, 0]), TAKEN)
  await insert([a, 0], [b, 0], [a, 1], [a, 2], [b, 1])
  t.strictSame([await numbers(a), await numbers(b)], [[0, 1, 2], [0, 1]])
  await t.rejects(insert([a, 3], [b, 1]), TAKEN)
  await t.rejects(insert([a, 5], [b, 2], [a, 1]), TAKEN)
  await t.rejects(insert([b, 2], [b, 2]), TAKEN)
  await insert([b, 9], [a, 4])

  t.strictSame(await ask(databaseUrl, 'select last_no from messages order by last_no'), [{ last_no: 4 }, { last_no: 9 }])
  t.equal(await app.journal.recordEvent(a, 0, 'answer', {}), true)
  t.strictSame([await numbers(a), await numbers(b)], [[0, 1, 2, 4, 5], [0, 1, 9]])
})

test('an INSERT with ON CONFLICT DO NOTHING passes over a number that is taken, and does not fill a hole', async (t) => {
  const { app, client, databaseUrl, numbers } = await start(t)
  const messageId = await makeMessage(databaseUrl)
  await insertEvents(databaseUrl, messageId, { count: 2 })
  await insertEvents(databaseUrl, messageId, { first: 5 })
  const insert = async (no: number) => (await client.query(`${INSERT} on conflict do nothing`, [messageId, no, '{}'])).rowCount

  t.strictSame([await insert(1), await insert(5)], [0, 0])
  await t.rejects(insert(3), TAKEN)
  t.equal(await insert(6), 1)
  t.equal(await app.journal.recordEvent(messageId, 3, 'answer', {}), true)

  t.strictSame(await numbers(messageId), [0, 1, 5, 6, 7])
})

test('the number and the message of an event cannot change; all else of it can', async (t) => {
  const { client, databaseUrl, numbers } = await start(t)
  const [messageId, other] = [await makeMessage(databaseUrl), await makeMessage(databaseUrl)]
  await insertEvents(databaseUrl, messageId, { count: 2 })

  await t.rejects(client.query('update message_events set sequence_no = 9 where sequence_no = 1'), { code: '23001' })
  await t.rejects(client.query('update message_events set message_id = $1', [other]), { code: '23001' })
  await client.query('update message_events set sequence_no = sequence_no, payload = \'{"n":1}\', created_at = now()')

  t.strictSame(await numbers(messageId), [0, 1])
  t.strictSame((await eventsOf(databaseUrl, messageId)).map(({ payload }) => payload), [{ n: 1 }, { n: 1 }])
})

/** What the tables promise whether the foreign key or the triggers keep it. */
async function proveGuarded (t: Test, databaseUrl: string): Promise<void> {
  const client = await openClient(t, databaseUrl)
  const [kept, gone] = [await makeMessage(databaseUrl), await makeMessage(databaseUrl)]
  for (const messageId of [kept, gone]) await insertEvents(databaseUrl, messageId, { count: 3 })

  await t.rejects(client.query(INSERT, [randomUUID(), 0, '{}']), { code: '23503' })
  await t.rejects(client.query('update messages set message_id = $1 where message_id = $2', [randomUUID(), gone]), { code: '23503' })
  await t.rejects(client.query('truncate messages'), { code: /23503|0A000/ })
  await client.query('delete from messages where message_id = $1', [gone])

  t.strictSame([(await eventsOf(databaseUrl, kept)).length, (await eventsOf(databaseUrl, gone)).length], [3, 0])
  await client.query('delete from messages')
  t.strictSame(await ask(databaseUrl, 'select from message_events'), [])
}

test('events go with their message, and never lose it', async (t) => {
  const { databaseUrl, client } = await start(t)
  await proveGuarded(t, databaseUrl)
  await insertEvents(databaseUrl, await makeMessage(databaseUrl))
  await t.rejects(client.query('truncate messages, message_events'), { code: '23503' })
  await t.rejects(client.query('truncate messages cascade'), { code: '23503' })
  t.equal((await ask(databaseUrl, 'select from message_events')).length, 1)
})

const ADOPTED = `
  create table messages (message_id uuid primary key, user_id text, status text not null default 'streaming', error text,
    epoch integer not null default 0, heartbeat_at timestamptz, created_at timestamptz not null default now(), tenant text);
  create table message_events (message_id uuid not null references messages on delete cascade, sequence_no integer not null, event_type text not null,
    payload json not null default '{}', created_at timestamptz not null default now(), primary key (message_id, sequence_no))`

for (const [what, sql] of [
  ['adopted', ADOPTED],
  ['partitioned', `${ADOPTED} partition by hash (message_id);
    create table message_events_0 partition of message_events for values with (modulus 2, remainder 0);
    create table message_events_1 partition of message_events for values with (modulus 2, remainder 1)`]
] as const) {
  test(`tables that are ${what} keep their foreign key, and the rules for numbers`, async (t) => {
    const databaseUrl = await createTestDatabase(t)
    await ask(databaseUrl, sql)
    const { app, client, lines, read, numbers } = await start(t, databaseUrl)
    t.match(linesAbout(lines, 'the tables are ready'), [{ guard: 'foreign key' }])
    await proveGuarded(t, databaseUrl)
    const message = await app.journal.openMessage({ userId: 'ada' })
    const { messageId } = message
    const reader = await read(messageId)

    t.equal(await message.record('answer', {}), true)
    await client.query(INSERT, [messageId, 4, '{}'])
    await t.rejects(client.query(INSERT, [messageId, 2, '{}']), TAKEN)
    await reader.until(has(1))
    t.equal(await message.end(), true)

    await reader.ended
    t.strictSame(ids(reader), ['0', '4', '5'])
    t.strictSame(await numbers(messageId), [0, 4, 5])
  })
}

test('a role that may insert events and nothing else is a writer like others', async (t) => {
  const { databaseUrl, app, numbers } = await start(t)
  const role = `journal_test_${randomBytes(6).toString('hex')}`
  await ask(databaseUrl, `create role ${role}; grant insert on message_events to ${role}; grant select (message_id) on messages to ${role}`)
  t.teardown(async () => { await ask(databaseUrl, `drop owned by ${role}; drop role ${role}`) })
  const client = await openClient(t, databaseUrl)
  await client.query(`set role ${role}; set search_path = pg_temp`)
  const insert = INSERT.replace('message_events', 'public.message_events')
  const message = await app.journal.openMessage({ userId: 'ada' })

  await client.query(insert, [message.messageId, 3, '{}'])
  await t.rejects(client.query(insert, [message.messageId, 3, '{}']), TAKEN)
  await t.rejects(client.query(insert, [randomUUID(), 0, '{}']), { code: '23503' })

  t.equal(await message.record('answer', {}), true)
  t.strictSame(await numbers(message.messageId), [3, 4])
})
