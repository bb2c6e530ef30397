import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { test, type Test } from 'tap'
import { createCommitter } from '../../plugin/write/committer.js'
import { createConnection } from '../../plugin/postgres/connection.js'
import { createJournal } from '../../plugin/postgres/journal.js'
import type { Outcome, PendingEvent } from '../../plugin/write/line.js'
import { migrate } from '../../plugin/ops/migrate.js'
import { createScripts, createStatements, tablesOf } from '../../plugin/postgres/statements.js'
import { createTestDatabase } from '../helper/database.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'
import { observe } from '../helper/writing.js'

const OPTIONS = { writeRetryMs: 10_000, maxDoubtMs: 60_000, maxPendingBytes: 1_000_000 }
const TABLES = tablesOf(undefined)

async function start (t: Test, options = OPTIONS, at?: { databaseUrl: string, url: string }) {
  const databaseUrl = at?.databaseUrl ?? await createTestDatabase(t)
  const pool = new pg.Pool({ connectionString: at?.url ?? databaseUrl })
  pool.on('error', () => {}) // a session that ends with its database
  t.teardown(() => pool.end())
  await migrate(pool)
  const committer = createCommitter(createJournal(createConnection(pool, createStatements(TABLES), options.writeRetryMs), createScripts(TABLES)), options)
  t.teardown(() => { committer.close() })
  /** What became of each event, in the order of the calls; `undefined` before it is known. */
  const settled: Array<Outcome | undefined> = []
  const add = (event: Omit<PendingEvent, 'settle'>): void => {
    const call = settled.push(undefined) - 1
    committer.add({
      ...event,
      settle (outcome) {
        t.equal(settled[call], undefined, 'settled once')
        settled[call] = outcome
      }
    })
  }
  return { committer, database: await observe(t, databaseUrl), settled, add }
}

function event (messageId: string, sequenceNo: number, more: Partial<PendingEvent> = {}): Omit<PendingEvent, 'settle'> {
  return { messageId, sequenceNo, eventType: 'answer', payload: '{}', bytes: 2, writer: null, ending: null, deadline: Infinity, doubtfulSince: null, ...more }
}

test('each event is settled once, with what became of it and the number it got', async (t) => {
  const { committer, database, settled, add } = await start(t)
  const messageId = await database.addMessage()
  const missing = messageId.replace(/^......../, '00000000') // in the same lane

  for (const each of [event(messageId, 0), event(messageId, 0, { eventType: 'other' }), event(messageId, 0), event(missing, 0), event(messageId, 9, { writer: { epoch: 7, next: 9 } })]) add(each)
  await committer.drained()

  t.strictSame(settled, [
    { kind: 'committed', sequenceNo: 0, repeated: false },
    { kind: 'committed', sequenceNo: 1, repeated: false },
    { kind: 'committed', sequenceNo: 0, repeated: true },
    { kind: 'missing', sequenceNo: 0 },
    { kind: 'fenced', sequenceNo: 9 }
  ])
})

test('a committer with nothing to do is drained', async (t) => {
  const { committer, database, settled, add } = await start(t)
  await committer.drained()

  add(event(await database.addMessage(), 0))
  await Promise.all([committer.drained(), committer.drained()])

  t.strictSame(settled, [{ kind: 'committed', sequenceNo: 0, repeated: false }])
})

test('the status is set in the transaction of the terminal event, or not at all', async (t) => {
  const { committer, database, add } = await start(t)
  await database.refuse()
  const [done, refused, fenced] = await Promise.all([database.addMessage(), database.addMessage(), database.addMessage()])
  const ending = { status: 'complete', error: null } as const

  add(event(done, 0, { ending }))
  add(event(refused, 0, { ending, eventType: 'refused' }))
  add(event(fenced, 0, { ending, writer: { epoch: 3, next: 0 } }))
  await committer.drained()

  const [stamps] = await database.query<{ same: boolean }>('select m.xmin = e.xmin as same from messages m join message_events e using (message_id)')
  t.strictSame(stamps, { same: true })
  t.equal((await database.message(done))?.status, 'complete')
  t.equal((await database.message(refused))?.status, 'streaming')
  t.equal((await database.message(fenced))?.status, 'streaming')
})

test('an event that has run out of time is failed with the cause of its last try, and the next one goes on', async (t) => {
  const { committer, database, settled, add } = await start(t, { ...OPTIONS, writeRetryMs: 300 })
  const messageId = await database.addMessage()
  await database.query(`
    create function busy () returns trigger language plpgsql as $$ begin raise exception 'busy' using errcode = '40001'; end $$;
    create trigger busy before insert on message_events for each row execute function busy()`)

  add(event(messageId, 0))
  await committer.drained()
  await database.query('drop trigger busy on message_events')
  add(event(messageId, 1))
  await committer.drained()

  t.match(settled, [{ kind: 'failed', sequenceNo: 0, error: { message: 'busy', code: '40001' } }, { kind: 'committed', sequenceNo: 1 }])
})

test('however many events wait for one message, all are answered', async (t) => {
  const { committer, database } = await start(t, { ...OPTIONS, writeRetryMs: 300, maxPendingBytes: 2 ** 30 })
  const messageId = await database.addMessage()
  const answered = new Map<string, number>()
  const settle = ({ kind }: Outcome): void => { answered.set(kind, (answered.get(kind) ?? 0) + 1) }
  await database.query('begin')
  await database.query('select from messages where message_id = $1 for update', [messageId])

  for (let n = 0; n < 150_000; n++) committer.add({ ...event(messageId, n), settle })
  await committer.drained()

  t.strictSame([...answered], [['failed', 150_000]])
  t.strictSame(await database.rows(messageId), [])
})

for (const [what, direction, kind, rows] of [['is in the table', 'toClient', 'committed', [0]], ['is not', 'toServer', 'failed', []]] as const) {
  test(`a doubtful event that nothing can be written for any more is answered when it has been looked for; it ${what}`, async (t) => {
    const databaseUrl = await createTestDatabase(t)
    const proxy = await startTcpProxy(t, databaseUrl)
    const { committer, database, settled, add } = await start(t, OPTIONS, { databaseUrl, url: proxy.url })
    const messageId = await database.addMessage()
    add(event(messageId, 0))
    await committer.drained()
    await database.query('delete from message_events')
    await database.query('update messages set last_no = -1, epoch = 3')

    proxy.set(direction, 'stall')
    add(event(messageId, 0, { payload: '{"doubtful":true}', writer: { epoch: 3, next: 0 } }))
    if (rows.length > 0) while ((await database.rows(messageId)).length === 0);
    await database.query('alter table message_events rename to hidden')
    proxy.cut() // what is stalled goes with the link
    proxy.set(direction, 'flow')
    await delay(200)
    t.equal(settled[1], undefined)
    await database.query('alter table hidden rename to message_events')

    await committer.drained()
    t.match(settled[1], { kind })
    t.strictSame((await database.rows(messageId)).map((row) => row.sequence_no), rows)
  })
}
