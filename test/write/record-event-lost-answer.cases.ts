import type { FastifyInstance } from 'fastify'
import { test, type Test } from 'tap'
import type { Message } from '../../plugin/index.js'
import { openConnections, startApp, type TestAppOptions } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'
import { linesAbout, listen, observe } from '../helper/writing.js'

/** An app whose wire to Postgres is in the test's hands, and a message. */
async function startOnProxy (t: Test, options: TestAppOptions = {}) {
  const databaseUrl = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, databaseUrl)
  const { app, lines } = await startApp(t, { ...options, databaseUrl: proxy.url })
  const database = await observe(t, databaseUrl)
  await openConnections(app)

  return {
    app,
    lines,
    proxy,
    database,
    databaseUrl,
    /** The next commit's answer is lost: it is there, the app does not know, and its connections are gone. */
    async loseAnswer (messageId: string, rows: number): Promise<void> {
      await proxy.untilDropped('toClient')
      while ((await database.rows(messageId)).length < rows);
    },
    goOn (): void {
      proxy.set('toClient', 'flow')
      proxy.cut()
    }
  }
}

test('a commit whose answer was lost is found, not doubled, and published', async (t) => {
  const { app, proxy, database, loseAnswer, goOn } = await startOnProxy(t)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  await message.record('answer', {})
  const topics = await listen(t, app, messageId)

  proxy.set('toClient', 'drop')
  const recorded = message.record('answer', { answer: 'a' })
  await loseAnswer(messageId, 2)
  goOn()

  t.equal(await recorded, true)
  t.strictSame((await database.rows(messageId)).map((row) => row.sequence_no), [0, 1])
  await topics.flushed()
  t.strictSame(topics.texts, [`{"message_id":"${messageId}","sequence_no":1,"event_type":"answer","payload":{"answer":"a"},"committed":true}`])
})

test('an event that had to move is found at its new number when the answer was lost', async (t) => {
  const { app, proxy, database, loseAnswer, goOn } = await startOnProxy(t)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  await database.query('insert into message_events (message_id, sequence_no, event_type) values ($1, 0, \'other\')', [messageId])
  const topics = await listen(t, app, messageId)

  // the first answer, that the number is taken, and the look-up's arrive; the second INSERT's is dropped
  await database.query(`
    create function tell () returns trigger language plpgsql as $$
    begin if new.sequence_no = 1 then perform pg_notify('moved', ''), pg_sleep(0.05); end if; return new; end $$;
    create trigger tell before insert on message_events for each row execute function tell()`)
  const recorded = message.record('answer', { answer: 'a' })
  while ((await database.query('select from pg_stat_activity where wait_event = \'PgSleep\' and datname = current_database()')).length === 0);
  proxy.set('toClient', 'drop')
  await loseAnswer(messageId, 2)
  goOn()

  t.equal(await recorded, true)
  t.strictSame((await database.rows(messageId)).map((row) => row.sequence_no), [0, 1])
  await topics.flushed()
  t.strictSame(topics.envelopes.map((envelope) => envelope.sequence_no), [1])
})

test('a whole batch whose answer was lost is found, each event once and in order', async (t) => {
  const { app, proxy, database, loseAnswer, goOn } = await startOnProxy(t)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const topics = await listen(t, app, message.messageId)

  proxy.set('toClient', 'drop')
  const recorded = Array.from({ length: 100 }, (_, n) => message.record('answer', { n }))
  await loseAnswer(message.messageId, 100)
  goOn()

  t.ok((await Promise.all(recorded)).every(Boolean))
  t.equal(await message.end(), true)
  t.strictSame((await database.rows(message.messageId)).map((row) => JSON.parse(row.payload).n ?? 'end'), [...Array.from({ length: 100 }, (_, n) => n), 'end'])
  await topics.until(101)
  t.strictSame(topics.envelopes.map((envelope) => envelope.sequence_no), Array.from({ length: 101 }, (_, n) => n))
})

test('an end whose answer was lost is an end', async (t) => {
  const { app, proxy, database, loseAnswer, goOn } = await startOnProxy(t)
  const message = await app.journal.openMessage({ userId: 'ada' })

  proxy.set('toClient', 'drop')
  const ended = message.end()
  await loseAnswer(message.messageId, 1)
  goOn()

  t.equal(await ended, true)
  t.match(await database.message(message.messageId), { status: 'complete' })
  t.strictSame((await database.rows(message.messageId)).map((row) => row.payload), ['{"type":"end"}'])
})

test('a commit whose answer was lost is true, also when the message was taken over meanwhile', { timeout: 10_000 }, async (t) => {
  const { app, proxy, database, databaseUrl, loseAnswer, goOn } = await startOnProxy(t)
  const { app: other } = await startApp(t, { databaseUrl })
  const message = await app.journal.openMessage({ userId: 'ada' })
  const topics = await listen(t, app, message.messageId)

  proxy.set('toClient', 'drop')
  const recorded = message.record('answer', { answer: 'a' })
  await loseAnswer(message.messageId, 1)
  const next = await other.journal.openMessage({ userId: 'ada', messageId: message.messageId })
  goOn()

  t.equal(await recorded, true)
  t.equal(await next.record('answer', { answer: 'b' }), true)
  t.strictSame((await database.rows(message.messageId)).map((row) => row.payload), ['{"answer":"a"}', '{"answer":"b"}'])
  await topics.until(2)
  t.strictSame(topics.envelopes.map(({ sequence_no: sequenceNo }) => sequenceNo).sort(), [0, 1])
  t.equal(await message.record('answer', { answer: 'c' }), false)
  t.equal(message.signal.aborted, true)
})

test('a try whose query was lost is made again', async (t) => {
  const { app, proxy, database } = await startOnProxy(t)
  const messageId = await database.addMessage()
  await app.journal.recordEvent(messageId, 0, 'answer', {})

  proxy.set('toServer', 'drop')
  const recorded = app.journal.recordEvent(messageId, 1, 'answer', {})
  await proxy.untilDropped('toServer')
  proxy.set('toServer', 'flow')
  proxy.cut()

  t.equal(await recorded, true)
  t.strictSame((await database.rows(messageId)).map((row) => row.sequence_no), [0, 1])
})

test('a slow wire is no failure: the answer comes late and is taken', async (t) => {
  const { app, proxy, database } = await startOnProxy(t)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  const topics = await listen(t, app, messageId)

  proxy.set('toClient', 'stall')
  const recorded = message.record('answer', {})
  while ((await database.rows(messageId)).length === 0);
  await topics.flushed()
  t.strictSame(topics.texts, [])
  proxy.set('toClient', 'flow')

  t.equal(await recorded, true)
  await topics.flushed()
  t.equal(topics.texts.length, 1)
})

for (const [how, write] of [
  ['record', async (message: Message) => await message.record('answer', { n: 1 })],
  ['recordEvent', async (message: Message, { journal }: FastifyInstance) => await journal.recordEvent(message.messageId, 1, 'answer', { n: 1 })]
] as const) {
  test(`${how}: a commit whose answer is lost for good is false, logged as unknown, and not published as an event that is not there`, async (t) => {
    const { app, lines, proxy, database, loseAnswer } = await startOnProxy(t, { writeRetryMs: 500, maxDoubtMs: 1_500, heartbeatMs: 600_000, producerIdleMs: 1_200_000 })
    const message = await app.journal.openMessage({ userId: 'ada' })
    await message.record('answer', { n: 0 })
    const topics = await listen(t, app, message.messageId)
    proxy.set('toClient', 'drop')

    const recorded = write(message, app)
    await loseAnswer(message.messageId, 2)
    proxy.refuse()

    t.equal(await recorded, false)
    await topics.flushed()
    t.strictSame(topics.texts, [])
    t.equal((await database.rows(message.messageId)).length, 2)
    t.equal(linesAbout(lines, 'outcome unknown').length, 1)
  })
}
