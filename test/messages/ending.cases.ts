import { randomUUID } from 'node:crypto'
import { test, type Test } from 'tap'
import { messageTopic } from '../../plugin/wire/names.js'
import type { Message } from '../../plugin/index.js'
import { startApp, type TestApp } from '../helper/app.js'
import { ask, eventsOf, eventually, has, insertEvents, makeMessage, statusOf } from '../helper/journal.js'
import { connect, frames, ids, type Connection } from '../helper/sse.js'
import { countStatements, linesAbout, listen } from '../helper/writing.js'

const TIMES = { heartbeatMs: 100, producerIdleMs: 600, reconcileMs: 50 }

async function read (t: Test, { url }: TestApp, messageId: string, cursor?: number): Promise<Connection> {
  return await connect(t, `${url}/api/messages/${messageId}/events`, cursor === undefined ? {} : { headers: { 'last-event-id': String(cursor) } })
}

async function stop (t: Test, { url }: TestApp, messageId: string): Promise<number> {
  return (await connect(t, `${url}/api/messages/${messageId}/stop`, { method: 'POST' })).status
}

const insert = async (databaseUrl: string, messageId: string, no: number, type: string) =>
  await ask(databaseUrl, 'insert into message_events (message_id, sequence_no, event_type, payload) values ($1, $2, $3, json_build_object(\'type\', $3::text))', [messageId, no, type])

for (const payload of [{ type: 'error', error: 'a chunk of an SDK' }, { type: 'end' }, { type: 'finish' }]) {
  for (const eventType of ['chunk', payload.type]) {
    test(`${eventType} ${JSON.stringify(payload)} in the middle of an answer ends no response, live or replayed`, async (t) => {
      const started = await startApp(t, { terminalTypes: ['end', 'error', 'finish'] })
      const message = await started.app.journal.openMessage({ userId: 'ada' })
      const live = await read(t, started, message.messageId)

      t.equal(await message.record('answer', { n: 0 }), true)
      t.equal(await message.record(eventType, payload), true)
      await live.until(has(2))
      const late = await read(t, started, message.messageId)
      await late.until(has(2))
      const behind = await read(t, started, message.messageId, 1)
      t.equal(behind.status, 200)
      t.equal(await message.record('answer', { n: 2 }), true)
      for (const reader of [live, late]) await reader.until(has(3))
      t.notMatch(live.raw, ': end')
      t.equal(await message.end(), true)

      for (const reader of [live, late, behind]) {
        await reader.ended
        t.match(reader.raw, /id: 3\n\n: end complete\n\n$/)
        t.equal(reader.raw.split(': end').length, 2, 'once')
      }
      t.strictSame(ids(live), ['0', '1', '2', '3'])
      t.strictSame([frames(late.raw), ids(behind)], [frames(live.raw), ['2', '3']])
      t.equal(message.signal.aborted, false)
    })
  }
}

/** How a message with one event can come to its end, the status that it has then, and the events that it has in all. */
const ENDS: Array<[what: string, status: string, events: number, end: (message: Message, started: TestApp, t: Test) => Promise<unknown>]> = [
  ['its producer ends it', 'complete', 2, async (message) => await message.end()],
  ['its producer fails', 'failed', 2, async (message) => await message.fail(new Error('no'))],
  ['it is stopped', 'stopped', 2, async ({ messageId }, started, t) => await stop(t, started, messageId)],
  ['its producer gives no sign of life', 'failed', 2, async ({ messageId }, { databaseUrl }) => await ask(databaseUrl, `
    with newest as (update message_events set created_at = now() - interval '1 hour' where message_id = $1)
    update messages set epoch = epoch + 1, heartbeat_at = now() - interval '1 hour' where message_id = $1`, [messageId])],
  ...['complete', 'failed', 'stopped'].map((status): typeof ENDS[number] => [`another program writes the status ${status}`, status, 2, async ({ messageId }, { databaseUrl }) =>
    await ask(databaseUrl, 'update messages set status = $2 where message_id = $1', [messageId, status])]),
  ['another program writes an end and the status', 'complete', 2, async ({ messageId }, { databaseUrl }) => {
    await insert(databaseUrl, messageId, 1, 'end')
    await ask(databaseUrl, 'update messages set status = \'complete\' where message_id = $1', [messageId])
  }],
  ['another program writes the status and an error in one transaction', 'failed', 2, async ({ messageId }, { databaseUrl }) => await ask(databaseUrl, `
    with ended as (update messages set status = 'failed' where message_id = $1)
    insert into message_events (message_id, sequence_no, event_type) values ($1, 1, 'error')`, [messageId])]
]

for (const [what, status, events, end] of ENDS) {
  test(`": end ${status}" comes once, behind the last event, when ${what}; and for who has that event there is nothing more`, async (t) => {
    const started = await startApp(t, TIMES)
    const { databaseUrl } = started
    const message = await started.app.journal.openMessage({ userId: 'ada' })
    const { messageId } = message
    t.equal(await message.record('answer', {}), true)
    const live = await read(t, started, messageId)
    await live.until(has(1))

    await end(message, started, t)
    await live.ended
    const replayed = await read(t, started, messageId)
    await replayed.ended
    const rest = await read(t, started, messageId, 0)
    await rest.ended

    t.equal(await statusOf(databaseUrl, messageId), status)
    t.equal((await eventsOf(databaseUrl, messageId)).length, events)
    for (const reader of [live, replayed, rest]) {
      t.match(reader.raw, new RegExp(`id: ${events - 1}\n\n: end ${status}\n\n$`))
      t.equal(reader.raw.split(': end').length, 2)
    }
    t.equal(frames(live.raw), frames(replayed.raw))
    t.strictSame(ids(rest), ids(live).slice(1))
    t.equal((await read(t, started, messageId, events - 1)).status, 204)
    t.strictSame(await ask(databaseUrl, 'select ended_no, ended_at is not null as dated from messages where message_id = $1', [messageId]), [{ ended_no: events - 1, dated: true }])
    t.equal(await started.app.journal.recordEvent(messageId, 9, 'answer', {}), false)
  })
}

for (const [type, status] of [['end', 'complete'], ['error', 'failed']] as const) {
  test(`a message without a lease ends by an event of type ${type}, as ": end ${status}" says, and its row follows`, async (t) => {
    const started = await startApp(t, TIMES)
    const { databaseUrl } = started
    const messageId = await makeMessage(databaseUrl)
    const live = await read(t, started, messageId)
    await insert(databaseUrl, messageId, 0, 'answer')
    await insert(databaseUrl, messageId, 1, type)
    await live.ended
    const replayed = await read(t, started, messageId)
    await replayed.ended
    for (const reader of [live, replayed]) t.match(reader.raw, new RegExp(`id: 1\n\n: end ${status}\n\n$`))
    t.equal((await read(t, started, messageId, 1)).status, 204)
  })
}

test('where a status follows an event that ends the message, that event is published once more, with the status', async (t) => {
  const { app, databaseUrl, url } = await startApp(t, { ...TIMES, reconcileMs: 100 })
  const messageId = await makeMessage(databaseUrl)
  await insertEvents(databaseUrl, messageId)
  await ask(databaseUrl, 'update messages set epoch = 1, heartbeat_at = now() where message_id = $1', [messageId])
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
  await reader.until(has(1))
  const topics = await listen(t, app, messageId)

  await insert(databaseUrl, messageId, 1, 'end')
  await reader.until(has(2))
  await ask(databaseUrl, 'update messages set status = \'complete\' where message_id = $1', [messageId])
  await reader.ended

  await topics.until(1)
  t.strictSame(topics.texts, [`{"message_id":"${messageId}","sequence_no":1,"event_type":"end","payload":{"type" : "end"},"committed":true,"ends":"complete"}`])
  t.strictSame(ids(reader), ['0', '1'])
})

test('rows that another program writes behind the end are replayed, reopen nothing, and add no end', async (t) => {
  const started = await startApp(t, TIMES)
  const { databaseUrl } = started
  const message = await started.app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  t.equal(await message.end(), true)
  await insert(databaseUrl, messageId, 1, 'late')

  const reader = await read(t, started, messageId)
  await reader.ended
  const behind = await read(t, started, messageId, 0)
  await behind.ended

  t.strictSame([ids(reader), ids(behind)], [['0', '1'], ['1']])
  for (const { raw } of [reader, behind]) t.match(raw, /: end complete\n\n$/)
  t.equal((await read(t, started, messageId, 1)).status, 204)
  t.strictSame(await ask(databaseUrl, 'select status, ended_no from messages'), [{ status: 'complete', ended_no: 0 }])
  t.equal((await eventsOf(databaseUrl, messageId)).length, 2)
})

test('an envelope that does not say that its row is committed is a hint: its text is shown nowhere', async (t) => {
  const started = await startApp(t, { reconcileMs: 600_000 })
  const { app, databaseUrl } = started
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  const reader = await read(t, started, messageId)
  t.equal(await message.record('answer', { by: 'us' }), true)
  await reader.until(has(1))
  const publish = async (no: number, type: string) => await app.redis.publish(messageTopic(messageId), `{"message_id":"${messageId}","sequence_no":${no},"event_type":"${type}","payload":{"type":"${type}","by":"nobody"}}`)

  await publish(1, 'answer')
  await publish(0, 'answer')
  await publish(500, 'answer')
  await publish(2, 'end')
  t.equal(await message.record('answer', { by: 'us' }), true)
  await reader.until(has(2))
  await insertEvents(databaseUrl, messageId, { first: 2, text: 'f' })
  await publish(2, 'answer')
  await reader.until(has(3))
  t.equal(await message.end(), true)
  await reader.ended

  t.notMatch(reader.raw, 'nobody')
  t.strictSame(ids(reader), ['0', '1', '2', '3'])
  t.match(reader.events.map(({ data }) => JSON.parse(data)), [{ by: 'us' }, { by: 'us' }, { answer: 'ffffffff' }, { type: 'end' }])
})

test('a hint of an end that is not in the journal does not move a cursor past the real end', async (t) => {
  const started = await startApp(t, { reconcileMs: 600_000 })
  const { app, databaseUrl } = started
  const messageId = await makeMessage(databaseUrl)
  const reader = await read(t, started, messageId)
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), true)
  await reader.until(has(1))
  const looks = countStatements(app, /readFrames/)
  await app.redis.publish(messageTopic(messageId), `{"message_id":"${messageId}","sequence_no":1,"event_type":"end","payload":{"type":"end"}}`)
  await eventually(() => looks() > 0)

  t.equal(await app.journal.recordEvent(messageId, 1, 'end', { by: 'us' }), true)
  await reader.ended

  t.strictSame(ids(reader), ['0', '1'])
  t.strictSame(JSON.parse(reader.events[1]?.data ?? ''), { by: 'us' })
})

test('a stop ends a message without a lease: from then on recordEvent is false, and there is one end', async (t) => {
  const one = await startApp(t, TIMES)
  const { app, databaseUrl } = one
  const two = await startApp(t, { ...TIMES, databaseUrl, migrate: false })
  const messageId = await makeMessage(databaseUrl)
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', { n: 0 }), true)
  const reader = await read(t, two, messageId)
  await reader.until(has(1))

  t.equal(await stop(t, two, messageId), 202)
  const answers = await Promise.all([1, 2, 3].map((n) => app.journal.recordEvent(messageId, n, 'answer', { n })))
  for (const started of [one, two, one]) {
    const late = await read(t, started, messageId)
    await late.ended
    t.strictSame(ids(late), ['0', '1'])
  }
  await reader.ended
  answers.push(await app.journal.recordEvent(messageId, 4, 'end', { type: 'end' }))

  t.strictSame(answers, [false, false, false, false])
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', { n: 0 }), true, 'the retry of an event that stands')
  t.strictSame((await eventsOf(databaseUrl, messageId)).map(({ payload }) => payload), [{ n: 0 }, { type: 'end', reason: 'stopped' }])
  t.match(reader.raw, /: end stopped\n\n$/)
  t.match(linesAbout(one.lines, 'the message was stopped')[0], { level: 40, messageId })

  const again = await app.journal.openMessage({ userId: 'ada', messageId })
  t.equal(await app.journal.recordEvent(messageId, 5, 'answer', {}), true, 'it was opened again')
  t.equal(await again.end(), true)
})

test('a message that has ended takes events of a writer without a lease again when its row says streaming', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t)
  const messageId = await makeMessage(databaseUrl, { status: 'complete' })
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), false)
  t.match(linesAbout(lines, 'the message has ended'), [{ level: 40, messageId }])
  await ask(databaseUrl, 'update messages set status = \'streaming\' where message_id = $1', [messageId])
  t.strictSame(await ask(databaseUrl, 'select ended_at, ended_no from messages'), [{ ended_at: null, ended_no: null }])
  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), true)
  t.equal((await eventsOf(databaseUrl, messageId)).length, 1)
})

test('whatever is said on the topic of stops, only a message that Postgres says is stopped has its producer told', async (t) => {
  const started = await startApp(t, { reconcileMs: 600_000, heartbeatMs: 600_000, producerIdleMs: 1_200_000 })
  const { app, databaseUrl } = started
  const message = await app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  const reader = await read(t, started, messageId)
  t.equal(await message.record('answer', {}), true)
  const before = await ask(databaseUrl, 'select status, epoch from messages')
  const looks = countStatements(app, /from lease left join/)

  for (const text of [
    { message_id: messageId, epoch: 2 }, { message_id: messageId, epoch: 1_000_000 }, { message_id: messageId }, { message_id: messageId.toUpperCase(), epoch: 2 },
    { message_id: randomUUID(), epoch: 2 }, { message_id: 'all' }, { epoch: 2 }, null, [messageId], 'stop'
  ]) await app.redis.publish('journal:stop', JSON.stringify(text))
  await app.redis.publish('journal:stop', 'stop')
  await eventually(() => looks() > 0)

  t.equal(await message.record('answer', {}), true)
  t.equal(message.signal.aborted, false)
  t.strictSame(await ask(databaseUrl, 'select status, epoch from messages'), before)

  // Stopped by somebody whose hint was lost: the next word on the topic, whoever says it, makes the process look
  await ask(databaseUrl, 'update messages set status = \'stopped\' where message_id = $1', [messageId])
  await app.redis.publish('journal:stop', JSON.stringify({ message_id: messageId, epoch: 0 }))
  await eventually(() => message.signal.aborted)
  t.match(message.signal.reason, { code: 'FST_JOURNAL_STOPPED' })
  t.equal(await message.record('answer', {}), false)
  reader.cut()
})
