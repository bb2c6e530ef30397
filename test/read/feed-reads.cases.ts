import type { PoolClient } from 'pg'
import t, { type Test } from 'tap'
import { encodeEnvelope } from '../../plugin/wire/envelope.js'
import { messageTopic } from '../../plugin/wire/names.js'
import { startApp, type TestApp } from '../helper/app.js'
import { addMessage } from '../helper/journal.js'
import { connect, ids, type Connection } from '../helper/sse.js'

async function createMessages ({ app }: TestApp, count: number): Promise<string[]> {
  return await Promise.all(Array.from({ length: count }, async () => await addMessage(app)))
}

/** Viewers of the messages, live at event 0. */
async function join (t: Test, { app, url }: TestApp, messageIds: string[]): Promise<Connection[]> {
  const readers = await Promise.all(messageIds.map((messageId) => connect(t, `${url}/api/messages/${messageId}/events`)))
  await Promise.all([...new Set(messageIds)].map((messageId) => app.journal.recordEvent(messageId, 0, 'answer')))
  await Promise.all(readers.map((reader) => reader.until(({ events }) => events.length === 1)))
  return readers
}

/** Holds the table of events, so that whoever reads it waits and can be counted. */
async function hold (t: Test, { app }: TestApp) {
  const client: PoolClient = await app.pg.connect()
  t.teardown(() => { client.release(true) })
  await client.query('begin')
  await client.query('lock table message_events in access exclusive mode')
  const waiting = async (): Promise<number> => {
    // `string_agg` stands in the reading of a page alone: the reconciliation, which may be due, waits for the table too
    await client.query('select pg_stat_clear_snapshot()') // a transaction sees one state of pg_stat_activity until then
    const { rows } = await client.query<{ count: number }>(`select count(*)::int as count from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock' and query like '%string_agg%'`)
    return rows[0]?.count ?? 0
  }
  return {
    waiting,
    /** Inserts event 1 of each message without a publish. */
    async insert (messageIds: string[]) {
      await client.query('insert into message_events (message_id, sequence_no, event_type) select unnest($1::uuid[]), 1, \'answer\'', [messageIds])
    },
    async release () { await client.query('commit') }
  }
}

/** Announces event 1 with a gap before it, so that every viewer of the message must look at the journal. */
async function announceGap ({ app }: TestApp, messageIds: string[]): Promise<void> {
  await Promise.all(messageIds.map((messageId) => app.redis.publish(messageTopic(messageId),
    encodeEnvelope({ messageId, sequenceNo: 2, eventType: 'answer', payload: '{}', committed: true }))))
}

t.test('the reads of many messages are bounded, the app\'s pool stays usable, and every reader gets its events', async (t) => {
  const started = await startApp(t, { maxConcurrentReads: 3 })
  const messageIds = await createMessages(started, 30)
  const readers = await join(t, started, messageIds)
  const table = await hold(t, started)
  await table.insert(messageIds)
  await announceGap(started, messageIds)
  while (await table.waiting() < 3);
  for (let i = 0; i < 10; i++) await started.app.pg.query('select 1')
  t.equal(await table.waiting(), 3)
  t.equal(started.app.pg.pool.waitingCount, 0, 'nobody waits for the pool')
  await table.release()
  await Promise.all(readers.map((reader) => reader.until(({ events }) => events.length === 2)))
  t.ok(readers.every((reader) => ids(reader).join() === '0,1'))
})

t.test('viewers at the same cursor share one read', async (t) => {
  const started = await startApp(t)
  const [messageId = ''] = await createMessages(started, 1)
  const readers = await join(t, started, Array.from({ length: 50 }, () => messageId))
  const table = await hold(t, started)
  await table.insert([messageId])
  await announceGap(started, [messageId])
  while (await table.waiting() < 1);
  for (let i = 0; i < 10; i++) await started.app.pg.query('select 1')
  t.equal(await table.waiting(), 1)
  await table.release()
  await Promise.all(readers.map((reader) => reader.until(({ events }) => events.length === 2)))
  t.ok(readers.every((reader) => ids(reader).join() === '0,1'))
})

t.test('a read that fails is tried again, and its readers go on by themselves', async (t) => {
  const started = await startApp(t)
  const [messageId = ''] = await createMessages(started, 1)
  const [reader] = await join(t, started, [messageId])
  await started.app.pg.query('alter table message_events rename to elsewhere')
  await announceGap(started, [messageId])
  while (!started.lines.some(({ msg }) => msg === 'journal: a read failed and will be tried again')) await started.app.pg.query('select 1')
  await started.app.pg.query('alter table elsewhere disable trigger user') // which would look for the table by its name
  await started.app.pg.query('insert into elsewhere (message_id, sequence_no, event_type) values ($1, 1, \'answer\')', [messageId])
  await started.app.pg.query('alter table elsewhere rename to message_events')
  await reader?.until(({ events }) => events.length === 2)
  t.equal(started.app.journal.stats().viewers, 1)
})
