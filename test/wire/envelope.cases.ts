import fc from 'fast-check'
import t from 'tap'
import { decodeEnvelope, encodeEnvelope, isSequenceNo, MAX_SEQUENCE_NO, payloadType, type Envelope } from '../../plugin/wire/envelope.js'

const MESSAGE_ID = '0198c0de-7a1e-7c3b-9d6e-0a4c9a1f0001'

/** Some JSON object as some program would write it: with or without white space, keys that look like an envelope's. */
const payloadText = fc.tuple(
  fc.dictionary(fc.oneof(fc.constantFrom('payload', 'type', 'sequence_no', '"payload":'), fc.string()), fc.jsonValue({ maxDepth: 3 })),
  fc.constantFrom(undefined, 1, '\t', '  ')
).map(([payload, indent]) => JSON.stringify(payload, null, indent))

t.test('an envelope has its fields in the published order, and says so when its row did not commit', async (t) => {
  const envelope: Envelope = { messageId: MESSAGE_ID, sequenceNo: 3, eventType: 'a "b"', payload: '{"n":1e+21}', committed: true }
  t.equal(encodeEnvelope(envelope), `{"message_id":"${MESSAGE_ID}","sequence_no":3,"event_type":"a \\"b\\"","payload":{"n":1e+21},"committed":true}`)
  t.equal(encodeEnvelope({ ...envelope, committed: false }),
    `{"message_id":"${MESSAGE_ID}","sequence_no":3,"event_type":"a \\"b\\"","payload":{"n":1e+21},"committed":false}`)
})

t.test('what is encoded is decoded, the payload to the byte', async () => {
  fc.assert(fc.property(payloadText, fc.string(), fc.nat(MAX_SEQUENCE_NO), fc.boolean(), (payload, eventType, sequenceNo, committed) => {
    const decoded = decodeEnvelope(encodeEnvelope({ messageId: MESSAGE_ID, sequenceNo, eventType, payload, committed }))
    return decoded !== null && decoded.payload === payload && decoded.eventType === eventType &&
      decoded.sequenceNo === sequenceNo && decoded.committed === committed && decoded.payloadType === payloadType(payload)
  }), { numRuns: 1_000 })
})

t.test('an envelope of another writer, with spaces, another order and fields of its own, is decoded', async (t) => {
  t.same(decodeEnvelope('\n { "extra" : [ {"payload":{"x":1}} , "payload" ] , "payload" : { "type" : "end", "n": 1.0 } , "sequence_no" : 3 }'), {
    sequenceNo: 3, eventType: '', payload: '{ "type" : "end", "n": 1.0 }', payloadType: 'end', committed: null, ends: null
  })
})

t.test('of two payloads the last one counts, as JSON.parse has it', async (t) => {
  t.match(decodeEnvelope('{"sequence_no":1,"payload":{"type":"a"},"payload":{"type":"b"}}'), { payload: '{"type":"b"}', payloadType: 'b' })
  t.equal(decodeEnvelope('{"sequence_no":1,"payload":{},"payload":1}'), null)
})

t.test('a number that JavaScript cannot hold survives', async (t) => {
  t.match(decodeEnvelope('{"sequence_no":1,"payload":{"big":9007199254740993,"zero":-0.0}}'), { payload: '{"big":9007199254740993,"zero":-0.0}' })
})

t.test('only a writer that says so has, or has not, committed the row', async (t) => {
  for (const [value, committed] of [['false', false], ['true', true], ['null', null], ['0', null], ['"true"', null]] as const) {
    t.equal(decodeEnvelope(`{"sequence_no":1,"payload":{},"committed":${value}}`)?.committed, committed, value)
  }
})

t.test('an event that ends its message says how; what is no status is none', async (t) => {
  const envelope: Envelope = { messageId: MESSAGE_ID, sequenceNo: 3, eventType: 'end', payload: '{}', committed: true, ends: 'stopped' }
  t.equal(encodeEnvelope(envelope), `{"message_id":"${MESSAGE_ID}","sequence_no":3,"event_type":"end","payload":{},"committed":true,"ends":"stopped"}`)
  for (const [value, ends] of [['"stopped"', 'stopped'], ['"complete"', 'complete'], ['true', null], ['"a\\nb"', null], ['""', null]] as const) {
    t.equal(decodeEnvelope(`{"sequence_no":1,"payload":{},"ends":${value}}`)?.ends, ends, value)
  }
})

t.test('a payload of many megabytes is decoded', async (t) => {
  const payload = JSON.stringify({ answer: '"'.repeat(4_000_000) + 'x'.repeat(16_000_000) })
  t.ok(decodeEnvelope(encodeEnvelope({ messageId: MESSAGE_ID, sequenceNo: 1, eventType: 'answer', payload, committed: true }))?.payload === payload)
})

t.test('whatever the text is, decoding it does not throw, and a payload that is taken is an object', async () => {
  const text = fc.oneof(
    fc.string(),
    fc.json(),
    fc.tuple(fc.json(), fc.json(), fc.json()).map(([sequenceNo, payload, committed]) => `{"sequence_no":${sequenceNo},"payload":${payload},"committed":${committed}}`),
    fc.array(fc.constantFrom('{', '}', '[', ']', ',', ':', '"', '\\', '"payload"', '"p\\u0061yload"', '"sequence_no"', '1', ' ', '{}'), { maxLength: 20 }).map((parts) => `{"sequence_no":1,${parts.join('')}}`)
  )
  fc.assert(fc.property(text, (text) => {
    const decoded = decodeEnvelope(text)
    if (decoded === null) return true
    const payload: unknown = JSON.parse(decoded.payload)
    return typeof payload === 'object' && payload !== null && !Array.isArray(payload)
  }), { numRuns: 5_000, examples: [['{"sequence_no":1,"payload":5,"p\\u0061yload":{}}'], ['{"sequence_no":1,"p\\u0061yload":{}}']] })
})

t.test('a sequence number is what the column can hold', async (t) => {
  for (const value of [0, 1, MAX_SEQUENCE_NO]) t.ok(isSequenceNo(value), String(value))
  for (const value of [-1, 0.5, MAX_SEQUENCE_NO + 1, NaN, Infinity, '1', null, undefined, true, 1n]) t.notOk(isSequenceNo(value), String(value))
})

t.test('the type of a stored payload is read only where it is a string of an object', async (t) => {
  t.equal(payloadType('{"type":"end"}'), 'end')
  for (const payload of ['{}', '{"type":1}', '["type"]', 'null', '"end"', '{']) t.equal(payloadType(payload), undefined, payload)
})
