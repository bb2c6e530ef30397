import { test } from 'tap'
import { startRedis } from '../../servers/redis.js'
import { startApp } from '../helper/app.js'
import { eventually } from '../helper/journal.js'
import { holdInserts, listen, observe } from '../helper/writing.js'

test('an event is journaled and published as the same text', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', { answer: 'Hé', n: 1.5, list: [null] }), true)

  t.strictSame(await database.rows(messageId), [{ sequence_no: 0, event_type: 'answer', payload: '{"answer":"Hé","n":1.5,"list":[null]}' }])
  await topics.until(1)
  t.strictSame(topics.texts, [`{"message_id":"${messageId}","sequence_no":0,"event_type":"answer","payload":{"answer":"Hé","n":1.5,"list":[null]},"committed":true}`])
})

test('reply.recordEvent is the same function', async (t) => {
  const { app, url, databaseUrl } = await startApp(t, {
    extend (app) {
      app.post<{ Params: { id: string } }>('/record/:id', async (request, reply) => {
        t.equal(reply.recordEvent, app.journal.recordEvent)
        const { recordEvent } = reply // needs no `this`
        return { recorded: await recordEvent(request.params.id, 0, 'answer', { answer: 'a' }) }
      })
    }
  })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()

  const response = await fetch(`${url}/record/${messageId}`, { method: 'POST' })

  t.strictSame(await response.json(), { recorded: true })
  t.equal((await database.rows(messageId)).length, 1)
  t.ok(app.hasReplyDecorator('recordEvent'))
})

test('events, and messages, go to the tables of the schema that the app names', async (t) => {
  const { app, databaseUrl } = await startApp(t, { schema: 'an "odd" one' })
  const database = await observe(t, databaseUrl)

  const message = await app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.record('answer', { n: 0 }), true)
  t.equal(await app.journal.recordEvent(message.messageId, 0, 'answer', { n: 1 }), true)

  await database.query('set search_path to "an ""odd"" one"')
  t.strictSame((await database.rows(message.messageId)).map((row) => row.payload), ['{"n":0}', '{"n":1}'])
})

test('an event without a payload has an empty one', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer'), true)

  t.strictSame(await database.rows(messageId), [{ sequence_no: 0, event_type: 'answer', payload: '{}' }])
  t.strictSame(lines.filter(({ level }) => level >= 40), [], 'and nothing is said about it')
})

test('an id in capitals is the same message, and is published in its canonical form', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)

  t.equal(await app.journal.recordEvent(messageId.toUpperCase(), 0, 'answer', {}), true)

  await topics.until(1)
  t.equal(topics.envelopes[0]?.message_id, messageId)
  t.equal((await database.rows(messageId)).length, 1)
})

test('an event type is journaled and published as it is, whatever characters it has', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)
  const types = ['NULL', '"', '\\', '{}', ',', '\n', '\u2028', 'größer 😀', ' ', "it's"]

  t.strictSame(await Promise.all(types.map((type, n) => app.journal.recordEvent(messageId, n, type))), types.map(() => true))

  t.strictSame((await database.rows(messageId)).map((row) => row.event_type), types)
  await topics.until(types.length)
  t.strictSame(topics.envelopes.map((envelope) => envelope.event_type), types)
})

test('nothing is published while the INSERT has not committed', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)
  const release = await holdInserts(t, databaseUrl)

  const recorded = app.journal.recordEvent(messageId, 0, 'answer', { answer: 'a' })
  await database.untilWaiting()
  await topics.flushed()
  t.strictSame(topics.texts, [])

  await release()
  t.equal(await recorded, true)
  await topics.until(1)
})

test('whoever hears of an event finds its row', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)
  // A commit that takes a while leaves the time to see that its row is not there yet.
  await database.query(`
    create function linger () returns trigger language plpgsql as $$ begin perform pg_sleep(0.01); return null; end $$;
    create constraint trigger linger after insert on message_events deferrable initially deferred for each row execute function linger()`)
  const found: Array<Promise<number>> = []
  topics.onText = (text) => {
    const { sequence_no: sequenceNo } = JSON.parse(text)
    found.push(database.query('select from message_events where message_id = $1 and sequence_no = $2', [messageId, sequenceNo]).then(({ length }) => length))
  }

  for (let sequenceNo = 0; sequenceNo < 20; sequenceNo++) app.journal.recordEvent(messageId, sequenceNo, 'answer', { sequenceNo })

  await topics.until(20)
  t.strictSame(await Promise.all(found), found.map(() => 1))
})

test('concurrent events of one message are published in the order of the calls', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)
  const numbers = Array.from({ length: 200 }, (_, sequenceNo) => sequenceNo)

  const recorded = await Promise.all(numbers.map((sequenceNo) => app.journal.recordEvent(messageId, sequenceNo, 'answer', {})))

  t.strictSame(recorded, numbers.map(() => true))
  await topics.until(numbers.length)
  t.strictSame(topics.envelopes.map((envelope) => envelope.sequence_no), numbers)
})

test('a Redis that is away changes nothing about the answer', async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const { app, databaseUrl, lines } = await startApp(t, { redisUrl: redis.url })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  await redis.kill()
  await eventually(() => app.redis.status !== 'ready')

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), true)

  t.equal((await database.rows(messageId)).length, 1)
  t.match(lines.find(({ msg }) => msg.includes('a publish failed')), { level: 40, err: { message: /Redis is / } })
})
