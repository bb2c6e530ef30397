import { setImmediate as turn } from 'node:timers/promises'
import { test, type Test } from 'tap'
import { startApp } from '../helper/app.js'
import { countStatements, linesAbout, listen, observe, takeClock } from '../helper/writing.js'

/** Two processes at one database. */
async function startTwo (t: Test) {
  const first = await startApp(t)
  const second = await startApp(t, { databaseUrl: first.databaseUrl })
  return { first, second, database: await observe(t, first.databaseUrl) }
}

test('what the older writer records after a takeover is false, not committed and not published, and its signal aborts', async (t) => {
  const { first, second, database } = await startTwo(t)
  takeClock(t)
  const older = await first.app.journal.openMessage({ userId: 'ada' })
  const { messageId } = older
  await older.record('answer', { by: 'older' })
  const newer = await second.app.journal.openMessage({ userId: 'ada', messageId })
  const topics = await listen(t, first.app, messageId)

  t.strictSame(await Promise.all([older.record('answer', { late: 1 }), older.record('answer', { late: 2 })]), [false, false])

  t.equal(older.signal.aborted, true)
  t.match(older.signal.reason, { code: 'FST_JOURNAL_FENCED' })
  t.strictSame((await database.rows(messageId)).map((row) => row.payload), ['{"by":"older"}'])
  await topics.flushed()
  t.strictSame(topics.texts, [])
  // Its next heartbeat may have told it before the journal did: then the line says that the message has ended
  t.match(linesAbout(first.lines, 'an event was not recorded')[0], { level: 40, messageId, eventType: 'answer' })
  t.strictSame([first.app.journal.stats().producers, second.app.journal.stats().producers], [0, 1])

  t.equal(await newer.record('answer', { by: 'newer' }), true)
  t.equal(newer.signal.aborted, false)
  t.strictSame((await database.rows(messageId)).map((row) => [row.sequence_no, row.payload]), [[0, '{"by":"older"}'], [1, '{"by":"newer"}']])
})

test('the older writer can neither end nor fail the message', async (t) => {
  const { first, second, database } = await startTwo(t)
  for (const finish of ['end', 'fail'] as const) {
    const older = await first.app.journal.openMessage({ userId: 'ada' })
    const { messageId } = older
    const newer = await second.app.journal.openMessage({ userId: 'ada', messageId })

    t.equal(await older[finish](new Error('no')), false)

    t.equal(older.signal.aborted, true)
    t.match(await database.message(messageId), { status: 'streaming', error: null })
    t.strictSame(await database.rows(messageId), [])
    t.equal(await newer.end(), true)
    t.match(await database.message(messageId), { status: 'complete' })
  }
})

test('a takeover in the same process fences too', async (t) => {
  const { first: { app }, database } = await startTwo(t)
  const older = await app.journal.openMessage({ userId: 'ada' })
  const newer = await app.journal.openMessage({ userId: 'ada', messageId: older.messageId })

  t.strictSame(await Promise.all([older.record('answer', { by: 'older' }), newer.record('answer', { by: 'newer' })]), [false, true])

  t.strictSame((await database.rows(older.messageId)).map((row) => row.payload), ['{"by":"newer"}'])
  t.equal(app.journal.stats().producers, 1)
})

test('a fenced event does not cost its neighbours in the same INSERT', async (t) => {
  const { first: { app }, second, database } = await startTwo(t)
  const [older, ...others] = await Promise.all(Array.from({ length: 5 }, () => app.journal.openMessage({ userId: 'ada' })))
  if (older === undefined) throw new Error('no message')
  await second.app.journal.openMessage({ userId: 'ada', messageId: older.messageId })

  const recorded = [...others, older].map((message) => message.record('answer', {}))

  t.strictSame(await Promise.all(recorded), [true, true, true, true, false])
  for (const { messageId } of others) t.equal((await database.rows(messageId)).length, 1)
})

test('a takeover waits for the INSERT that is under way, and continues behind it', async (t) => {
  const { first, second, database } = await startTwo(t)
  const older = await first.app.journal.openMessage({ userId: 'ada' })
  const { messageId } = older
  const before = await database.message(messageId)
  // The INSERT, its locks in hand, stands still until the test lets go of the advisory lock.
  await database.query(`
    create function stand () returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock_shared(1); return null; end $$;
    create trigger stand after insert on message_events for each statement execute function stand();
    select pg_advisory_lock(1)`)

  const recorded = older.record('answer', { n: 0 })
  // The second try, which waits for longer
  while ((await database.query('select from pg_stat_activity where wait_event_type = \'Lock\' and query ~ \'journal_append_some\'')).length === 0);
  const opened = second.app.journal.openMessage({ userId: 'ada', messageId })
  while ((await database.query('select from pg_locks where not granted')).length < 2);
  t.strictSame(await database.message(messageId), before)
  await database.query('select pg_advisory_unlock(1)')

  t.equal(await recorded, true)
  const newer = await opened
  t.equal(await newer.record('answer', { n: 1 }), true)
  t.equal(await older.record('answer', { n: 2 }), false)
  t.strictSame((await database.rows(messageId)).map((row) => [row.sequence_no, row.payload]), [[0, '{"n":0}'], [1, '{"n":1}']])
})

test('an event that waits for a takeover is fenced when it goes on', async (t) => {
  const { first, second, database } = await startTwo(t)
  const older = await first.app.journal.openMessage({ userId: 'ada' })
  const { messageId } = older
  const client = await second.app.pg.pool.connect()
  t.teardown(async () => { client.release() })
  await client.query('begin')
  await client.query('update messages set epoch = epoch + 1 where message_id = $1', [messageId])

  const tries = countStatements(first.app, /append/)
  const recorded = older.record('answer', {})
  while (tries() < 2) await turn()
  await client.query('commit')

  t.equal(await recorded, false)
  t.strictSame(await database.rows(messageId), [])
})

test('of many that take a message over at once, one can write', async (t) => {
  const { first, second, database } = await startTwo(t)
  const { messageId } = await first.app.journal.openMessage({ userId: 'ada' })
  const apps = [first.app, second.app]
  const before = await database.message(messageId)

  const writers = await Promise.all(Array.from({ length: 10 }, (_, n) => apps[n % 2]?.journal.openMessage({ userId: 'ada', messageId })))
  const recorded = await Promise.all(writers.map((writer, n) => writer?.record('answer', { n })))

  t.equal(recorded.filter(Boolean).length, 1)
  t.equal((await database.rows(messageId)).length, 1)
  t.match(await database.message(messageId), { epoch: Number(before?.epoch) + 10 })
})

test('a writer without a lease is never fenced', async (t) => {
  const { first: { app }, database } = await startTwo(t)
  const message = await app.journal.openMessage({ userId: 'ada' })

  t.equal(await app.journal.recordEvent(message.messageId, 0, 'answer', { by: 'another' }), true)
  t.equal(await message.record('answer', { by: 'holder' }), true)

  t.strictSame((await database.rows(message.messageId)).map((row) => row.sequence_no), [0, 1])
})

test('two takeovers in one process whose answers come in the other order: the newer one stays', async (t) => {
  const { first: { app }, database } = await startTwo(t)
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
  let letFirst = (): void => {}
  const held = new Promise<void>((resolve) => { letFirst = resolve })
  let executed = (): void => {}
  const done = new Promise<void>((resolve) => { executed = resolve })
  // The first one is committed at once, and its answer is late
  app.pg.pool.once('acquire', (client) => {
    const query = client.query
    client.query = function (...args: unknown[]) {
      const [config] = args
      if (typeof config !== 'object' || config === null || !('text' in config) || config.text !== 'commit') return Reflect.apply(query, client, args)
      client.query = query
      const answer: Promise<unknown> = Reflect.apply(query, client, args)
      return answer.then(async (result) => {
        executed()
        await held
        return result
      })
    }
  })
  const opening = app.journal.openMessage({ userId: 'ada', messageId })
  await done
  const newer = await app.journal.openMessage({ userId: 'ada', messageId })
  letFirst()
  const older = await opening

  t.match(older.signal.reason, { code: 'FST_JOURNAL_FENCED' })
  t.equal(newer.signal.aborted, false)
  t.strictSame(await Promise.all([older.record('answer', { by: 'older' }), newer.record('answer', { by: 'newer' })]), [false, true])
  t.strictSame((await database.rows(messageId)).map((row) => row.payload), ['{"by":"newer"}'])
  t.equal(app.journal.stats().producers, 1)
})

test('a number that an app has chosen in another process: what the message records next goes behind it', async (t) => {
  const { first, second, database } = await startTwo(t)
  const message = await first.app.journal.openMessage({ userId: 'ada' })
  t.equal(await second.app.journal.recordEvent(message.messageId, 5, 'answer', { by: 'app' }), true)
  t.equal(await message.record('answer', { by: 'message' }), true)
  t.strictSame((await database.rows(message.messageId)).map((row) => [row.sequence_no, row.payload]), [[5, '{"by":"app"}'], [6, '{"by":"message"}']])
})
