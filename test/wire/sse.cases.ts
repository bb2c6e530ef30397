import fc from 'fast-check'
import t from 'tap'
import { encodeFrame, encodeOpening, encodeRetry, jittered, KEEPALIVE, type Frame } from '../../plugin/wire/sse.js'
import { createCollector } from '../helper/sse.js'

function parse (text: string) {
  const { parser, ...collected } = createCollector()
  parser.feed(text)
  return collected
}

/** Text in which line breaks, NULs and SSE's own words are frequent. */
const hostile = fc.array(fc.oneof(
  fc.constantFrom('\r', '\n', '\r\n', '\n\n', '\0', ':', ' ', 'data: ', 'id: 7', 'event: x', 'retry: 1', '\u2028', '\u0085', '\ufeff'),
  fc.string({ unit: 'grapheme', maxLength: 5 })
), { maxLength: 12 }).map((parts) => parts.join(''))

const frame: fc.Arbitrary<Frame> = fc.record({
  data: hostile,
  id: fc.oneof(fc.nat(), hostile),
  event: hostile
}, { requiredKeys: ['data'] })

t.test('a frame is its data, then its id, then a blank line', async (t) => {
  t.equal(encodeFrame({ data: '{"a":1}', id: 4 }), 'data: {"a":1}\nid: 4\n\n')
  t.equal(encodeFrame({ data: '{}', id: '1-0', event: 'answer' }), 'event: answer\ndata: {}\nid: 1-0\n\n')
})

t.test('a frame without an id has no id line, which would reset the client\'s cursor', async (t) => {
  t.equal(encodeFrame({ data: '{}' }), 'data: {}\n\n')
})

t.test('id 0 is an id', async (t) => {
  t.equal(encodeFrame({ data: '{}', id: 0 }), 'data: {}\nid: 0\n\n')
})

t.test('data is split on CRLF, CR and LF', async (t) => {
  t.equal(encodeFrame({ data: '{\r\n1\r2\n3\n\r4\r\r}' }), 'data: {\ndata: 1\ndata: 2\ndata: 3\ndata: \ndata: 4\ndata: \ndata: }\n\n')
})

t.test('U+2028, U+2029 and U+0085 are not line breaks in SSE, and stay', async (t) => {
  t.equal(encodeFrame({ data: '\u2028\u2029\u0085' }), 'data: \u2028\u2029\u0085\n\n')
})

t.test('an event name or an id with CR, LF or NUL is left out', async (t) => {
  for (const bad of ['a\nb', 'a\rb', 'a\0b', '\n', '\r\n']) {
    t.equal(encodeFrame({ data: '{}', id: 1, event: bad }), 'data: {}\nid: 1\n\n')
    t.equal(encodeFrame({ data: '{}', id: bad, event: 'a' }), 'event: a\ndata: {}\n\n')
  }
})

t.test('whatever a frame holds, a parser reads one event with its data, and no field that was not meant', async () => {
  fc.assert(fc.property(frame, ({ data, id, event }) => {
    const { events, comments, retries } = parse(encodeFrame({ data, ...id !== undefined && { id }, ...event !== undefined && { event } }))
    const safe = (text: string): boolean => !/[\r\n\0]/.test(text)
    const [read] = events
    // A parser takes one space after the colon off; an empty name is no name
    const expected = {
      data: data.replace(/\r\n|\r/g, '\n'),
      id: id !== undefined && safe(String(id)) ? String(id) : undefined,
      event: event !== undefined && event !== '' && safe(event) ? event : undefined
    }
    return events.length === 1 && comments.length === 0 && retries.length === 0 &&
      read?.data === expected.data && read.id === expected.id && (read.event ?? '') === (expected.event ?? '')
  }), { numRuns: 2_000 })
})

t.test('the opening is a comment and a retry, and no event', async (t) => {
  const { events, comments, retries } = parse(encodeOpening(2_000).toString())
  t.same(events, [])
  t.same(comments, ['connected'])
  t.equal(retries.length, 1)
})

t.test('retry is jittered by half around its mean', async (t) => {
  const seen = new Set<number>()
  for (let i = 0; i < 500; i++) {
    const [retry] = parse(encodeRetry(jittered(2_000))).retries
    if (retry === undefined || retry < 1_000 || retry > 3_000) return t.fail(`retry: ${retry}`)
    seen.add(retry)
  }
  t.ok(seen.size > 100, 'a crowd does not come back as one')
  t.ok(Math.min(...seen) < 1_500 && Math.max(...seen) > 2_500, 'over the whole width')
})

t.test('a keepalive is a comment', async (t) => {
  t.same(parse(KEEPALIVE.toString()), { events: [], comments: ['keepalive'], retries: [] })
})
