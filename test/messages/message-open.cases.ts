import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { test, type Test } from 'tap'
import type { Message } from '../../plugin/index.js'
import { openConnections, startApp, type TestAppOptions } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { ask, eventsOf, eventually } from '../helper/journal.js'
import { connect } from '../helper/sse.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'
import { beforeStatements, linesAbout, observe } from '../helper/writing.js'

/** Nobody is judged, and no heartbeat meets the fault. */
const QUIET = { reconcileMs: 600_000, heartbeatMs: 600_000, producerIdleMs: 1_200_000 }

/** An app whose wire to Postgres is in the test's hands, and fails at the next COMMIT. */
async function startOnProxy (t: Test, options: TestAppOptions = {}) {
  const databaseUrl = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, databaseUrl)
  const { app, lines } = await startApp(t, { ...QUIET, ...options, databaseUrl: proxy.url })
  const database = await observe(t, databaseUrl)
  await openConnections(app)
  await eventually(async () => (await database.query('select from journal_state where timeline is not null')).length === 1) // by the first connection, with a COMMIT
  let isDue = false
  return {
    app,
    lines,
    proxy,
    database,
    databaseUrl,
    /** The next COMMIT reaches Postgres, and its answer does not come. Resolves when it is committed. */
    async loseAnswer (messageId: string): Promise<void> {
      isDue = true
      beforeStatements(app, /^commit$/, () => {
        if (isDue) proxy.set('toClient', 'drop')
        isDue = false
      })
      await eventually(async () => await database.message(messageId) !== undefined)
    },
    /** The next COMMIT does not reach Postgres. Resolves when it is lost. */
    async loseCommit (): Promise<void> {
      isDue = true
      beforeStatements(app, /^commit$/, () => {
        if (isDue) proxy.set('toServer', 'drop')
        isDue = false
      })
      await proxy.untilDropped('toServer')
    },
    /** Both directions, on new connections. */
    mend (): void {
      proxy.set('toClient', 'flow')
      proxy.set('toServer', 'flow')
      proxy.accept()
      proxy.cut()
    }
  }
}

test('an openMessage whose answer is lost is found by its token: opened once, and not fenced by itself', async (t) => {
  const { app, database, loseAnswer, mend } = await startOnProxy(t)
  const messageId = randomUUID()

  const opening = app.journal.openMessage({ userId: 'ada', messageId, ifExists: 'refuse' })
  await loseAnswer(messageId)
  mend()

  const message = await opening
  t.match(await database.message(messageId), { status: 'streaming' })
  t.equal(await message.record('answer', {}), true)
  t.equal(await message.end(), true)
})

test('an openMessage whose COMMIT is lost opens the message with its next try', async (t) => {
  const { app, database, loseCommit, mend } = await startOnProxy(t)
  const messageId = randomUUID()

  const opening = app.journal.openMessage({ userId: 'ada', messageId })
  await loseCommit()
  t.equal(await database.message(messageId), undefined)
  mend()

  t.equal(await (await opening).record('answer', {}), true)
  t.match(await database.message(messageId), { status: 'streaming' })
})

test('an openMessage whose outcome stays unknown says so, and the message is failed as soon as Postgres answers', async (t) => {
  const { app, lines, database, databaseUrl, loseAnswer, mend, proxy } = await startOnProxy(t, { writeRetryMs: 500 })
  const other = await startApp(t, { ...QUIET, databaseUrl, migrate: false })
  const messageId = randomUUID()

  const opening = app.journal.openMessage({ userId: 'ada', messageId })
  const rejected = t.rejects(opening, { code: 'FST_JOURNAL_OUTCOME_UNKNOWN', statusCode: 503, message: new RegExp(messageId), cause: Error })
  await loseAnswer(messageId)
  proxy.refuse()
  await rejected
  t.match(await database.message(messageId), { status: 'streaming' })
  const reader = await connect(t, `${other.url}/api/messages/${messageId}/events`)
  await eventually(() => linesAbout(lines, 'not known yet whether a message was opened').length > 0)
  mend()

  await reader.ended
  t.strictSame(JSON.parse(reader.events.at(-1)?.data ?? ''), { type: 'error', error: 'The answer could not be completed.', code: 'producer_failed' })
  t.match(await database.message(messageId), { status: 'failed', error: 'it was not known whether the message was opened' })
  t.equal((await database.rows(messageId)).length, 1)
  t.equal(app.journal.stats().producers, 0)
})

test('an openMessage whose outcome stays unknown and that never was leaves no message behind', async (t) => {
  const { app, database, loseCommit, mend, proxy } = await startOnProxy(t, { writeRetryMs: 500 })
  const messageId = randomUUID()

  const opening = app.journal.openMessage({ userId: 'ada', messageId })
  const rejected = t.rejects(opening, { code: 'FST_JOURNAL_OUTCOME_UNKNOWN' })
  await loseCommit()
  proxy.refuse()
  await rejected
  let looks = 0
  beforeStatements(app, /deleteMessage_/, () => { looks++ })
  mend()

  await eventually(() => looks > 0)
  await eventually(async () => (await database.query('select from pg_stat_activity where datname = current_database() and state <> \'idle\' and pid <> pg_backend_pid()')).length === 0)
  t.equal(await database.message(messageId), undefined)
  t.match(await app.journal.openMessage({ userId: 'ada', messageId, ifExists: 'refuse' }), { messageId })
})

test('a message whose opening is unknown and that somebody else has opened by then is left alone', async (t) => {
  const { app, database, databaseUrl, loseAnswer, mend, proxy } = await startOnProxy(t, { writeRetryMs: 500 })
  const other = await startApp(t, { ...QUIET, databaseUrl, migrate: false })
  const messageId = randomUUID()

  const opening = app.journal.openMessage({ userId: 'ada', messageId })
  const rejected = t.rejects(opening, { code: 'FST_JOURNAL_OUTCOME_UNKNOWN' })
  await loseAnswer(messageId)
  proxy.refuse()
  await rejected
  const message = await other.app.journal.openMessage({ userId: 'ada', messageId })
  let looks = 0
  beforeStatements(app, /lockOpened/, () => { looks++ })
  mend()

  await eventually(() => looks > 0)
  await delay(50)
  t.equal(await message.record('answer', { by: 'the other' }), true)
  t.equal(message.signal.aborted, false)
  t.strictSame((await database.rows(messageId)).map(({ payload }) => payload), ['{"by":"the other"}'])
})

test('a message whose opening is unknown and that somebody else opens just when it is to be failed is left alone', async (t) => {
  const { app, database, databaseUrl, loseAnswer, mend, proxy } = await startOnProxy(t, { writeRetryMs: 500 })
  const other = await startApp(t, { ...QUIET, databaseUrl, migrate: false })
  const messageId = randomUUID()

  const opening = app.journal.openMessage({ userId: 'ada', messageId })
  const rejected = t.rejects(opening, { code: 'FST_JOURNAL_OUTCOME_UNKNOWN' })
  await loseAnswer(messageId)
  proxy.refuse()
  await rejected
  let message: Message | undefined
  beforeStatements(app, /coalesce\(touched_at, created_at\)/, async () => { message ??= await other.app.journal.openMessage({ userId: 'ada', messageId }) })
  mend()

  await eventually(() => message !== undefined)
  await delay(50)
  t.equal(await message?.record('answer', { by: 'the other' }), true)
  t.strictSame((await database.rows(messageId)).map(({ payload }) => payload), ['{"by":"the other"}'])
})

test('an app that closes while an opening is unknown gives up looking', async (t) => {
  const { app, database, loseAnswer, proxy } = await startOnProxy(t)
  const messageId = randomUUID()

  const opening = app.journal.openMessage({ userId: 'ada', messageId })
  const rejected = t.rejects(opening, { code: 'FST_JOURNAL_OUTCOME_UNKNOWN' })
  await loseAnswer(messageId)
  proxy.refuse()
  await app.close()

  await rejected
  t.match(await database.message(messageId), { status: 'streaming' }, 'other processes end it as stale')
})

test('an openMessage that Postgres refuses is refused at once, with the reason', async (t) => {
  const { app, database } = await startOnProxy(t)
  await database.query(`
    create function refuse () returns trigger language plpgsql as $$ begin raise exception 'no messages today'; end $$;
    create trigger refuse before insert on messages for each row execute function refuse()`)

  await t.rejects(app.journal.openMessage({ userId: 'ada' }), { code: 'FST_JOURNAL_DATABASE_UNAVAILABLE', statusCode: 503, cause: { message: 'no messages today' } })

  t.strictSame(await database.query('select from messages'), [])
})

test('an openMessage that is refused while Postgres goes away is a 503', async (t) => {
  const { app, database, proxy } = await startOnProxy(t)
  const messageId = await database.addMessage()
  beforeStatements(app, /findMessage/, async () => { proxy.refuse() })

  await t.rejects(app.journal.openMessage({ userId: 'ada', messageId, ifExists: 'refuse' }), { code: 'FST_JOURNAL_DATABASE_UNAVAILABLE', statusCode: 503 })
})

for (const [what, sql] of [['row', 'select from messages where message_id = $1 for update'], ['table', 'lock table messages in exclusive mode']] as const) {
  test(`an openMessage that a lock on the ${what} refuses does nothing later`, async (t) => {
    const { app, database, databaseUrl } = await startOnProxy(t, { writeRetryMs: 600 })
    const other = await startApp(t, { ...QUIET, databaseUrl, migrate: false })
    const message = await other.app.journal.openMessage({ userId: 'ada' })
    const before = await database.message(message.messageId)
    await database.query('begin')
    await database.query(sql, what === 'row' ? [message.messageId] : [])

    await t.rejects(app.journal.openMessage({ userId: 'ada', messageId: message.messageId }), { code: 'FST_JOURNAL_DATABASE_UNAVAILABLE', cause: { code: '55P03' } })
    await database.query('rollback')

    t.equal(await message.record('answer', {}), true)
    t.strictSame(await database.message(message.messageId), before)
  })
}

test('openMessage refuses a wrong ifExists, rather than run an answer twice', async (t) => {
  const { app } = await startApp(t)
  const ifExists = 'fail' as 'refuse' // for callers without types
  await t.rejects(app.journal.openMessage({ userId: 'ada', ifExists }), { code: 'FST_JOURNAL_INVALID_OPTION', message: /"ifExists" must be "continue" or "refuse"; got "fail"/ })
})

test('a message that is deleted and opened anew takes nothing of its old producers', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const other = await startApp(t, { databaseUrl, migrate: false })
  for (const takenOver of [false, true]) {
    const first = await app.journal.openMessage({ userId: 'ada' })
    const { messageId } = first
    const old = takenOver ? await app.journal.openMessage({ userId: 'ada', messageId }) : first
    t.equal(await old.record('answer', { of: 'ada' }), true)
    for (const { journal } of [app, other.app]) {
      await ask(databaseUrl, 'delete from messages where message_id = $1', [messageId])
      const anew = await journal.openMessage({ userId: 'bob', messageId })
      t.strictSame([await old.record('answer', { of: 'ada' }), await anew.record('answer', { of: 'bob' })], [false, true])
      t.equal(await old.end(), false)
      t.strictSame([old.signal.aborted, anew.signal.aborted], [true, false])
      t.equal(await anew.end(), true)
      t.strictSame((await eventsOf(databaseUrl, messageId)).map(({ payload }) => payload), [{ of: 'bob' }, { type: 'end' }])
    }
  }
})
