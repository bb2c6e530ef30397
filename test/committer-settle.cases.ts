import pg from 'pg'
import { test, type Test } from 'tap'
import { createCommitter, type Outcome, type PendingEvent } from '../plugin/committer.js'
import type { NewEvent } from '../plugin/appender.js'
import { createConnection } from '../plugin/connection.js'
import { createJournal } from '../plugin/journal.js'
import { migrate } from '../plugin/migrate.js'
import { createLockMessages, createStatements } from '../plugin/statements.js'
import { createTestDatabase } from './helper/database.js'
import { observe } from './helper/writing.js'

const OPTIONS = { writeRetryMs: 10_000, maxPendingBytes: 1_000_000 }

async function start (t: Test, options = OPTIONS) {
  const databaseUrl = await createTestDatabase(t)
  const pool = new pg.Pool({ connectionString: databaseUrl })
  pool.on('error', () => {}) // a session that ends with its database
  t.teardown(() => pool.end())
  await migrate(pool)
  const committer = createCommitter(createJournal(createConnection(pool, createStatements(undefined, 1_000), options.writeRetryMs), createLockMessages(undefined, 1_000)), options)
  /** What became of each event, in the order of the calls; `undefined` before it is known. */
  const settled: Array<[outcome: Outcome, sequenceNo: number] | undefined> = []
  const add = (event: NewEvent): void => {
    const call = settled.push(undefined) - 1
    const pending: PendingEvent = {
      ...event,
      bytes: event.payload.length,
      deadline: 0,
      unsure: false,
      settle (outcome) {
        t.equal(settled[call], undefined, 'settled once')
        settled[call] = [outcome, pending.sequenceNo]
      }
    }
    committer.add(pending)
  }
  return { committer, database: await observe(t, databaseUrl), settled, add }
}

function event (messageId: string, sequenceNo: number, more: Partial<NewEvent> = {}): NewEvent {
  return { messageId, sequenceNo, eventType: 'answer', payload: '{}', epoch: null, finish: null, ...more }
}

test('each event is settled once, with what became of it and the number it got', async (t) => {
  const { committer, database, settled, add } = await start(t)
  const messageId = await database.addMessage()
  const missing = messageId.replace(/^......../, '00000000') // in the same lane

  for (const each of [event(messageId, 0), event(messageId, 0, { eventType: 'other' }), event(messageId, 0), event(missing, 0), event(messageId, 9, { epoch: 7 })]) add(each)
  await committer.drained()

  t.strictSame(settled, [
    [{ kind: 'committed', repeated: false }, 0],
    [{ kind: 'committed', repeated: false }, 1],
    [{ kind: 'committed', repeated: true }, 0],
    [{ kind: 'missing' }, 0],
    [{ kind: 'fenced' }, 9]
  ])
})

test('a committer with nothing to do is drained', async (t) => {
  const { committer, database, settled, add } = await start(t)
  await committer.drained()

  add(event(await database.addMessage(), 0))
  await Promise.all([committer.drained(), committer.drained()])

  t.strictSame(settled, [[{ kind: 'committed', repeated: false }, 0]])
})

test('the status is set in the transaction of the terminal event, or not at all', async (t) => {
  const { committer, database, add } = await start(t)
  await database.refuse()
  const [done, refused, fenced] = await Promise.all([database.addMessage(), database.addMessage(), database.addMessage()])
  const finish = { status: 'complete', error: null } as const

  add(event(done, 0, { finish }))
  add(event(refused, 0, { finish, eventType: 'refused' }))
  add(event(fenced, 0, { finish, epoch: 3 }))
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

  t.match(settled, [[{ kind: 'failed', error: { message: 'busy', code: '40001' } }, 0], [{ kind: 'committed' }, 1]])
})
