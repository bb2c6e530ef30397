import fc from 'fast-check'
import { test } from 'tap'
import type { NewEvent, TakenRow } from '../plugin/appender.js'
import { findHoles, findPlaces } from '../plugin/places.js'

function event (messageId: string, sequenceNo: number, payload = '{}', eventType = 'answer'): NewEvent {
  return { messageId, sequenceNo, eventType, payload, epoch: null, finish: null }
}

function row (messageId: string, sequenceNo: number, payload = '{}', eventType = 'answer'): TakenRow {
  return { messageId, sequenceNo, eventType, payload }
}

const numbers = (events: NewEvent[]): number[] => events.map(({ sequenceNo }) => sequenceNo)

test('free places are kept', (t) => {
  const events = [event('a', 1), event('a', 3), event('b', 1)]
  const { repeated, free } = findPlaces(events, { taken: [], latest: new Map([['a', 0]]) })
  t.strictSame(repeated, [])
  t.strictSame(free, events)
  t.strictSame(numbers(free), [1, 3, 1])
  t.end()
})

test('an event whose number comes behind one that readers have moves behind the latest', (t) => {
  const { free } = findPlaces([event('a', 3, '1'), event('a', 5, '2'), event('a', 4, '3')], { taken: [], latest: new Map([['a', 4]]) })
  t.strictSame(numbers(free), [5, 6, 7])
  t.end()
})

test('an event that stands in its place is repeated', (t) => {
  const [same, other] = [event('a', 0), event('a', 1)]
  const { repeated, free } = findPlaces([same, other], { taken: [row('a', 0)], latest: new Map([['a', 0]]) })
  t.equal(repeated[0], same)
  t.equal(free[0], other)
  t.strictSame([repeated.length, free.length], [1, 1])
  t.end()
})

test('an event whose place has another type or payload moves behind the latest', (t) => {
  const { free } = findPlaces([event('a', 0), event('a', 1)], { taken: [row('a', 0, '{}', 'tool'), row('a', 1, '{"a":1}')], latest: new Map([['a', 7]]) })
  t.strictSame(numbers(free), [8, 9])
  t.end()
})

test('what an event of the batch takes is taken for those behind it', (t) => {
  const { free } = findPlaces([event('a', 0, '1'), event('a', 1, '2'), event('a', 2, '3')], { taken: [row('a', 0)], latest: new Map([['a', 0]]) })
  t.strictSame(numbers(free), [1, 2, 3])
  t.end()
})

test('messages do not disturb each other', (t) => {
  const { free } = findPlaces([event('a', 0, '1'), event('b', 0, '1')], { taken: [row('a', 0)], latest: new Map([['a', 4], ['b', 9]]) })
  t.strictSame(numbers(free), [5, 10])
  t.end()
})

test('the last number behind a hole is found, for each message', (t) => {
  const latest = new Map([['a', 4]])
  t.strictSame(findHoles([event('a', 5), event('a', 6), event('b', 0)], latest), new Map())
  t.strictSame(findHoles([event('a', 6), event('a', 7), event('b', 3), event('b', 5), event('c', 0)], latest), new Map([['a', 6], ['b', 5]]))
  t.end()
})

interface Wanted { messageId: string, sequenceNo: number, payload: string }

const wanted = (payload: fc.Arbitrary<string>) => fc.array(fc.record({ messageId: fc.constantFrom('a', 'b'), sequenceNo: fc.nat(5), payload }), { maxLength: 12 })

/** The rule by itself: one event after the other, each looking at all that is there. */
function oneByOne (rows: TakenRow[], events: Wanted[]): TakenRow[] {
  const journal = [...rows]
  for (const { messageId, sequenceNo, payload } of events) {
    const standing = journal.find((row) => row.messageId === messageId && row.sequenceNo === sequenceNo)
    if (standing?.payload === payload) continue
    const latest = Math.max(-1, ...journal.filter((row) => row.messageId === messageId).map((row) => row.sequenceNo))
    journal.push(row(messageId, sequenceNo > latest ? sequenceNo : latest + 1, payload))
  }
  return journal
}

test('property: a batch ends as if its events had been recorded one by one', (t) => {
  fc.assert(fc.property(wanted(fc.constantFrom('0', '1')), wanted(fc.constantFrom('0', '1', '2')), (before, batch) => {
    const rows = oneByOne([], before)
    const latest = new Map<string, number>()
    for (const { messageId, sequenceNo } of rows) latest.set(messageId, Math.max(latest.get(messageId) ?? -1, sequenceNo))
    const events = batch.map(({ messageId, sequenceNo, payload }, n) => event(messageId, sequenceNo, payload === '2' ? `new ${n}` : payload))
    const taken = rows.filter((row) => events.some((event) => event.messageId === row.messageId && event.sequenceNo === row.sequenceNo))
    const expected = oneByOne(rows, events)

    const { repeated, free, echoes } = findPlaces(events, { taken, latest })

    t.equal(repeated.length + free.length + echoes.length, events.length)
    for (const event of repeated) t.ok(rows.some((row) => row.messageId === event.messageId && row.sequenceNo === event.sequenceNo && row.payload === event.payload))
    t.strictSame(free.map(({ messageId, sequenceNo, payload }) => row(messageId, sequenceNo, payload)), expected.slice(rows.length))
  }), { numRuns: 300 })
  t.end()
})
