import fc from 'fast-check'
import { test } from 'tap'
import { decodeEnvelope, encodeEnvelope } from '../../plugin/wire/envelope.js'

const messageId = '0198c0de-7a1e-7c3b-9d6e-0a4c9a1f0001'

test('an envelope has its fields in this order, and no white space', (t) => {
  t.equal(encodeEnvelope({ messageId, sequenceNo: 7, eventType: 'answer', payload: '{"answer":"Hé"}', committed: true }),
    `{"message_id":"${messageId}","sequence_no":7,"event_type":"answer","payload":{"answer":"Hé"},"committed":true}`)
  t.end()
})

test('an envelope whose row did not commit says so, at its end', (t) => {
  t.equal(encodeEnvelope({ messageId, sequenceNo: 7, eventType: 'answer', payload: '{}', committed: false }),
    `{"message_id":"${messageId}","sequence_no":7,"event_type":"answer","payload":{},"committed":false}`)
  t.end()
})

test('an event type is written as JSON', (t) => {
  const eventType = '","committed":false,"x":"\\\n\ud83d'
  const text = encodeEnvelope({ messageId, sequenceNo: 7, eventType, payload: '{}', committed: true })
  t.strictSame(JSON.parse(text), { message_id: messageId, sequence_no: 7, event_type: eventType, payload: {}, committed: true })
  t.ok(text.includes('\\ud83d'), 'and half a surrogate pair as its escape')
  t.end()
})

test('a payload is carried as the text that is stored', (t) => {
  for (const payload of ['{ "a" : 1.0 }', '{"n":12345678901234567890}', '{"a":"\\ud83d\\u0041"}', '{"a":1,"a":2}']) {
    t.ok(encodeEnvelope({ messageId, sequenceNo: 0, eventType: 'answer', payload, committed: true }).endsWith(`"payload":${payload},"committed":true}`))
  }
  t.end()
})

test('property: what is encoded is decoded again, the payload byte for byte', (t) => {
  const envelopes = fc.record({
    sequenceNo: fc.nat(2_147_483_647),
    eventType: fc.string({ minLength: 1, unit: 'binary' }),
    payload: fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue(), { noNullPrototype: true }).map((value) => JSON.stringify(value)),
    committed: fc.boolean()
  })
  fc.assert(fc.property(envelopes, (envelope) => {
    const { type } = JSON.parse(envelope.payload)
    t.strictSame(decodeEnvelope(encodeEnvelope({ ...envelope, messageId })), { ...envelope, ends: null, payloadType: typeof type === 'string' ? type : undefined })
  }), { numRuns: 200 })
  t.end()
})
