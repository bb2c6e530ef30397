import { readFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { encodeEnvelope, MAX_SEQUENCE_NO, type Envelope } from '../../plugin/wire/envelope.js'
import { messageTopic } from '../../plugin/wire/names.js'
import { startApp } from '../helper/app.js'
import { addMessage } from '../helper/journal.js'
import { connect, ids, type Connection } from '../helper/sse.js'

const { app, url } = await startApp(t)

interface Joined {
  messageId: string
  reader: Connection
  /** Publishes an envelope as another program would, with no look at the journal. */
  publish: (envelope: Partial<Envelope>) => Promise<void>
  /** Adds rows to the journal that nobody hears of. */
  insert: (...sequenceNos: number[]) => Promise<void>
}

/** A message and a reader that has its event 0 and is live. */
async function join (t: Test): Promise<Joined> {
  const messageId = await addMessage(app)
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
  await app.journal.recordEvent(messageId, 0, 'answer')
  await reader.until(({ events }) => events.length === 1)
  return {
    messageId,
    reader,
    async publish (envelope) {
      const text = encodeEnvelope({ messageId, sequenceNo: 1, eventType: 'answer', payload: '{"from":"the topic"}', committed: true, ...envelope })
      await app.redis.publish(messageTopic(messageId), text)
    },
    async insert (...sequenceNos) {
      await app.pg.query(`insert into message_events (message_id, sequence_no, event_type, payload)
        select $1, unnest($2::int[]), 'answer', '{"from":"the journal"}'`, [messageId, sequenceNos])
    }
  }
}

/** Ends the message behind `latest` and resolves with all ids that the reader got. */
async function finish ({ messageId, reader }: Joined, latest: number) {
  await app.journal.recordEvent(messageId, latest + 1, 'end')
  await reader.ended
  return ids(reader)
}

t.test('events arrive one after another while they are recorded', async (t) => {
  const joined = await join(t)
  for (let i = 1; i < 50; i++) {
    await app.journal.recordEvent(joined.messageId, i, 'answer', { i })
    await joined.reader.until(({ events }) => events.length === i + 1)
  }
  t.same(await finish(joined, 49), Array.from({ length: 51 }, (_, i) => String(i)))
})

t.test('an event that is the next one is delivered without a look at the journal', async (t) => {
  const { reader, publish } = await join(t)
  const client = await app.pg.connect()
  try {
    await client.query('begin')
    await client.query('lock table message_events in access exclusive mode')
    await publish({ sequenceNo: 1 })
    await reader.until(({ events }) => events.length === 2)
  } finally {
    await client.query('rollback')
    client.release()
  }
  t.match(reader.events.at(-1), { id: '1', data: '{"from":"the topic"}' })
})

t.test('a gap is read from the journal', async (t) => {
  const joined = await join(t)
  await joined.insert(1, 2, 3)
  t.same(await finish(joined, 3), ['0', '1', '2', '3', '4'])
  t.equal(joined.reader.events[1]?.data, '{"from":"the journal"}')
})

t.test('a number that is not there after the read is a hole, and is passed over', async (t) => {
  const joined = await join(t)
  await joined.insert(3, 7, 8)
  await joined.publish({ sequenceNo: 8 })
  await joined.reader.until(({ events }) => events.length === 4)
  await joined.insert(9)
  await joined.publish({ sequenceNo: 9 })
  await joined.reader.until(({ events }) => events.length === 5)
  t.same(await finish(joined, 9), ['0', '3', '7', '8', '9', '10'])
})

t.test('an event at or below the cursor is dropped', async (t) => {
  const joined = await join(t)
  await app.journal.recordEvent(joined.messageId, 1, 'answer')
  await joined.reader.until(({ events }) => events.length === 2)
  for (const sequenceNo of [0, 1, 0, 1, 1]) await joined.publish({ sequenceNo })
  t.same(await finish(joined, 1), ['0', '1', '2'])
  t.notMatch(joined.reader.raw, 'the topic')
})

t.test('events that are announced in another order arrive in theirs', async (t) => {
  const joined = await join(t)
  await joined.insert(1, 2, 3, 4, 5)
  for (const sequenceNo of [4, 2, 5, 1, 3]) await joined.publish({ sequenceNo })
  t.same(await finish(joined, 5), ['0', '1', '2', '3', '4', '5', '6'])
})

t.test('an event that is announced twice arrives once', async (t) => {
  const joined = await join(t)
  for (const sequenceNo of [1, 2, 3]) {
    await joined.insert(sequenceNo)
    await Promise.all([joined.publish({ sequenceNo }), joined.publish({ sequenceNo })])
  }
  t.same(await finish(joined, 3), ['0', '1', '2', '3', '4'])
})

t.test('a number without a row moves no cursor and stops nothing, however large it is', async (t) => {
  for (const sequenceNo of [2, 100, MAX_SEQUENCE_NO]) {
    const joined = await join(t)
    for (let i = 1; i < 6; i++) {
      if (sequenceNo > i) await joined.publish({ sequenceNo })
      await app.journal.recordEvent(joined.messageId, i, 'answer')
      await joined.reader.until(({ events }) => events.length === i + 1)
    }
    const all = ['0', '1', '2', '3', '4', '5', '6']
    t.same(await finish(joined, 5), all, String(sequenceNo))
    t.notMatch(joined.reader.raw, 'the topic')
    const late = await connect(t, `${url}/api/messages/${joined.messageId}/events`)
    await late.ended
    t.same(ids(late), all, 'and the same for who comes later')
  }
})

t.test('a number too large for the column is no event', async (t) => {
  const joined = await join(t)
  await joined.publish({ sequenceNo: MAX_SEQUENCE_NO + 1 })
  await joined.publish({ sequenceNo: 1e300 })
  t.same(await finish(joined, 0), ['0', '1'])
})

t.test('malformed envelopes are survived, and everything after them arrives', async (t) => {
  const { malformed_envelopes: malformed } = JSON.parse(await readFile(new URL('../vectors/seed-wire.json', import.meta.url), 'utf8'))
  const joined = await join(t)
  let latest = 0
  for (const envelope of [...malformed, '{"sequence_no":1,"payload":null}', '{"sequence_no":1,"payload":{}', Buffer.from([0xff, 0xfe, 0x00]), '\0'.repeat(1_000)]) {
    await app.redis.publish(messageTopic(joined.messageId), envelope)
    await app.journal.recordEvent(joined.messageId, ++latest, 'answer')
    await joined.reader.until(({ events }) => events.length === latest + 1)
  }
  t.same(await finish(joined, latest), Array.from({ length: latest + 2 }, (_, i) => String(i)))
})

t.test('an envelope of many megabytes is survived too', async (t) => {
  const joined = await join(t)
  await joined.publish({ sequenceNo: 5, payload: JSON.stringify({ answer: 'x'.repeat(16_000_000) }) })
  t.same(await finish(joined, 0), ['0', '1'])
})

t.test('an event whose row did not commit is shown without an id, and the cursor stays', async (t) => {
  const joined = await join(t)
  await joined.publish({ sequenceNo: 1, committed: false })
  await joined.reader.until(({ events }) => events.length === 2)
  t.strictSame(joined.reader.events[1], { id: undefined, event: undefined, data: '{"from":"the topic"}' })
  await joined.insert(1)
  await joined.publish({ sequenceNo: 1 })
  await joined.reader.until(({ events }) => events.length === 3)
  t.same(await finish(joined, 1), ['0', undefined, '1', '2'])
})

t.test('events whose rows did not commit stand between their neighbours, as they were published', async (t) => {
  const joined = await join(t)
  await joined.insert(1, 2)
  const texts = ([[1, true], [2, false], [7, false], [2, true]] as const).map(([sequenceNo, committed]) => encodeEnvelope({
    messageId: joined.messageId, sequenceNo, eventType: 'answer', payload: '{}', committed
  }))
  const pipeline = app.redis.pipeline()
  for (const text of texts) pipeline.publish(messageTopic(joined.messageId), text)
  await pipeline.exec()
  t.same(await finish(joined, 2), ['0', '1', undefined, undefined, '2', '3'])
})

t.test('an event whose row did not commit waits for a gap to be read', async (t) => {
  const joined = await join(t)
  await joined.insert(1, 2, 3)
  await joined.publish({ sequenceNo: 3 })
  await joined.publish({ sequenceNo: 4, committed: false })
  await joined.reader.until(({ events }) => events.length === 5)
  t.same(await finish(joined, 3), ['0', '1', '2', '3', undefined, '4'])
})

t.test('a failed recordEvent is shown to readers, and its number is free for the next', async (t) => {
  const joined = await join(t)
  await app.pg.query(`alter table message_events add constraint of_this_test check (message_id <> '${joined.messageId}' or event_type <> 'refused')`)
  t.equal(await app.journal.recordEvent(joined.messageId, 1, 'refused', { answer: 'lost' }), false)
  await joined.reader.until(({ events }) => events.length === 2)
  t.same(await finish(joined, 0), ['0', undefined, '1'])
})
