import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { readFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { decodeEnvelope } from '../../plugin/wire/envelope.js'
import { messageTopic } from '../../plugin/wire/names.js'
import { startApp } from '../helper/app.js'
import { addMessage } from '../helper/journal.js'
import { connect, type Connection } from '../helper/sse.js'

/** What the Python system wrote for a payload. */
interface Vector {
  message_id: string
  sequence_no: number
  event_type: string
  payload: object
  envelope: string
  sse: string
  terminal: boolean
}

const { events: vectors, malformed_envelopes: malformed }: { events: Vector[], malformed_envelopes: string[] } =
  JSON.parse(await readFile(new URL('../vectors/seed-wire.json', import.meta.url), 'utf8'))

const { app, url } = await startApp(t)

/** What a client reads of a frame. */
function parse (sse: string): EventSourceMessage[] {
  const events: EventSourceMessage[] = []
  createParser({ onEvent: (event) => { events.push(event) } }).feed(sse)
  return events
}

/** A frame as the Python system wrote it, with another id. */
function renumbered ({ sse }: Vector, id: number): EventSourceMessage[] {
  return parse(sse).map((event) => ({ ...event, id: String(id) }))
}

async function read (t: Test, messageId: string): Promise<Connection> {
  return await connect(t, `${url}/api/messages/${messageId}/events`)
}

async function insert (messageId: string, sequenceNo: number, { event_type: eventType, sse }: Vector): Promise<void> {
  await app.pg.query('insert into message_events (message_id, sequence_no, event_type, payload) values ($1, $2, $3, $4)', [messageId, sequenceNo, eventType, parse(sse)[0]?.data])
}

for (const vector of vectors) {
  const title = `${vector.sequence_no} ${vector.event_type}`

  t.test(`the envelope ${title} is taken in, its payload to the byte`, async (t) => {
    const decoded = decodeEnvelope(vector.envelope)
    t.match(decoded, { sequenceNo: vector.sequence_no, eventType: vector.event_type, committed: null, ends: null })
    t.equal(decoded?.payload, parse(vector.sse)[0]?.data)
    t.same(JSON.parse(decoded?.payload ?? ''), vector.payload)
  })

  t.test(`the event ${title} is read live and replayed as the Python system's frame is, and ends what it should`, async (t) => {
    const messageId = await addMessage(app)
    const live = await read(t, messageId)
    await app.journal.recordEvent(messageId, 0, 'answer')
    await live.until(({ events }) => events.length === 1)
    await insert(messageId, 1, vector)
    await app.redis.publish(messageTopic(messageId), vector.envelope.replace(/"sequence_no": \d+/, '"sequence_no": 1'))
    const replayed = await read(t, messageId)
    await Promise.all([live, replayed].map((reader) => vector.terminal ? reader.ended : reader.until(({ events }) => events.length === 2)))
    t.same(live.events.slice(1), renumbered(vector, 1))
    t.same(replayed.events.slice(1), renumbered(vector, 1))
    if (vector.terminal) return
    await app.journal.recordEvent(messageId, 2, 'end')
    await Promise.all([live.ended, replayed.ended])
    t.equal(live.events.length, 3, 'and it did not end the response')
  })
}

t.test('a whole message of the Python system replays in its order, its terminal events in the middle included', async (t) => {
  const messageId = await addMessage(app)
  for (const vector of vectors) await insert(messageId, vector.sequence_no, vector)
  await app.journal.recordEvent(messageId, vectors.length, 'end')
  const reader = await read(t, messageId)
  await reader.ended
  t.same(reader.events.slice(0, -1), vectors.flatMap(({ sse }) => parse(sse)))
})

t.test('its malformed envelopes are no events', async (t) => {
  t.ok(malformed.length > 0)
  for (const envelope of malformed) t.equal(decodeEnvelope(envelope), null, JSON.stringify(envelope))
})
