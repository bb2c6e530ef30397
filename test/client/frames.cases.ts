import fc from 'fast-check'
import t from 'tap'
import { resumeMessage, streamMessage } from '../../client/index.js'
import { watch } from './chat.js'
import { END, broken, frame, last, open, startServer, status, stream } from './server.js'

const hurry = { backoffMs: [0] }

t.test('malformed frames are passed over, and do no harm to those between them', async (t) => {
  const { url, cursors } = await startServer(t,
    broken(
      frame(0, { no: 0 }),
      'data: {"no":\nid: 1\n\n',
      'data: [1]\nid: 2\n\n',
      'data: null\n\n',
      'data: 7\n\n',
      'data\n\n',
      'id: 9\n\n', // no data, no event
      'nonsense\n\nwhat: ever\n\n: a comment\n\n\0\n\nretry: soon\n\n',
      frame(3, { no: 3 }),
      'data: not JSON\nid: 4\n\n'
    ),
    stream(last(5)))
  const seen = watch()
  t.match(await resumeMessage({ url, ...seen, ...hurry }), { lastEventId: '5' })
  t.strictSame(seen.events, [[{ no: 0 }, '0'], [{ no: 3 }, '3'], [END, '5']])
  t.strictSame(cursors(), [undefined, '4'], 'one that is complete moves the cursor all the same')
})

t.test('an id in whatever place, line breaks of all kinds, and JSON over many lines', async (t) => {
  const { url } = await startServer(t, stream(
    'id: 0\ndata: {"no": 0}\n\n',
    'id: 1\r\ndata: {\r\ndata:   "no": 1\r\ndata: }\r\n\r\n',
    'data: {"no":2}\rid: 2\r\r',
    last(3)))
  const seen = watch()
  await resumeMessage({ url, ...seen, ...hurry })
  t.strictSame(seen.events, [[{ no: 0 }, '0'], [{ no: 1 }, '1'], [{ no: 2 }, '2'], [END, '3']])
})

t.test('an id that is no place moves nothing', async (t) => {
  const { url, cursors } = await startServer(t,
    broken(frame(7, {}), frame('abc', { id: 'abc' }), frame('', { id: 'empty' }), 'data: {"id":"NUL"}\nid: 9\0\n\n'),
    stream(last(8)))
  const seen = watch()
  await resumeMessage({ url, ...seen, ...hurry })
  t.strictSame(seen.ids, ['7', null, null, null, '8'])
  t.strictSame(cursors(), [undefined, '7'])
})

t.test('events are told apart by their ids, which are numbers', async (t) => {
  const { url } = await startServer(t,
    broken(...[0, 1, 1, 0, 2, 9, 10].map((id) => frame(id, {}))),
    stream(...[0, 2, 9, 10, 11].map((id) => id === 11 ? last(id) : frame(id, {}))))
  const seen = watch()
  await resumeMessage({ url, ...seen, ...hurry })
  t.strictSame(seen.ids, ['0', '1', '2', '9', '10', '11'])
})

t.test('events that are not in the journal are shown each time, and end nothing', async (t) => {
  const aside = (payload: object): string => `data: ${JSON.stringify(payload)}\n\n`
  const { url, cursors } = await startServer(t,
    stream(frame(4, {}), aside({ aside: 1 }), aside(END)),
    stream(aside({ aside: 1 }), last(5)))
  const seen = watch()
  t.match(await resumeMessage({ url, ...seen, ...hurry }), { lastEventId: '5' })
  t.strictSame(seen.ids, ['4', null, null, null, '5'])
  t.strictSame(cursors(), [undefined, '4'])
})

t.test('"busy" is no event: it is tried again; one with an id is somebody\'s own', async (t) => {
  const busy = 'event: busy\ndata: {"type":"busy"}\n\n'
  const { url, cursors } = await startServer(t, open(frame(0, {}), busy, frame(1, {})), stream('retry: 1\n\n', busy), stream('event: busy\n', last(1)))
  const seen = watch()
  t.match(await resumeMessage({ url, ...seen, ...hurry }), { status: 'complete', lastEventId: '1' })
  t.strictSame(seen.ids, ['0', '1'])
  t.strictSame(cursors(), [undefined, '0', '0'])
})

t.test('an end that the server did not mean: it said when to come back, or was cut', async (t) => {
  for (const first of [stream(frame(0, END), 'retry: 1\n\n'), broken(frame(0, END)), broken(frame(0, END), ': keepalive\n\n')]) {
    const goesOn = await startServer(t, first, stream(frame(1, { no: 1 }), last(2)))
    const seen = watch()
    t.match(await resumeMessage({ url: goesOn.url, ...seen, ...hurry }), { lastEventId: '2' })
    t.strictSame(seen.ids, ['0', '1', '2'])

    const over = await startServer(t, first, status(204))
    t.strictSame(await resumeMessage({ url: over.url, onEvent () {}, ...hurry }), { status: 'complete', lastEventId: '0', event: END })
    t.strictSame(over.cursors(), [undefined, '0'])
  }
})

t.test('the server says how a message has ended, whatever its events are', async (t) => {
  for (const how of ['complete', 'failed', 'stopped']) {
    const { url, asked } = await startServer(t, open(frame(0, { type: 'error' }), frame(1, {}), `: end ${how}\n\n`))
    t.strictSame(await resumeMessage({ url, onEvent () {}, ...hurry }), { status: how, lastEventId: '1', event: {} })
    t.equal(asked.length, 1)
  }
  const { url } = await startServer(t, stream(frame(0, {}), ': end\n\n', ': end sometime\n\n', ': the end complete\n\n'), stream(last(1)))
  t.match(await resumeMessage({ url, onEvent () {}, ...hurry }), { lastEventId: '1' })
})

t.test('an end with more behind it is none, in one response or in two', async (t) => {
  const { url } = await startServer(t, stream(frame(0, END), frame(1, {})), broken(frame(2, END)), stream(frame(3, {})), status(204))
  t.strictSame(await resumeMessage({ url, onEvent () {}, ...hurry }), { status: 'unknown', lastEventId: '3', event: null })
})

t.test('a server that does not say how a message has ended is understood by its last event', async (t) => {
  for (const [payload, how] of [[{ type: 'end' }, 'complete'], [{ type: 'end', reason: 'stopped' }, 'stopped'], [{ type: 'error' }, 'failed']] as const) {
    const { url } = await startServer(t, stream(frame(0, payload)), status(204))
    t.strictSame(await resumeMessage({ url, onEvent () {}, ...hurry }), { status: how, lastEventId: '0', event: payload })
  }
})

t.test('terminal types of the app\'s own, and in the event\'s name', async (t) => {
  const { url } = await startServer(t, stream(frame(0, { type: 'answered' })), status(204))
  const answered = { lastEventId: '0', event: { type: 'answered' } }
  t.strictSame(await resumeMessage({ url, onEvent () {}, terminalTypes: ['end', 'error', 'answered'], ...hurry }), { status: 'complete', ...answered })

  const named = await startServer(t, stream('event: error\n', frame(0, { why: 'no' })), status(204))
  t.strictSame(await resumeMessage({ url: named.url, onEvent () {}, ...hurry }), { status: 'failed', lastEventId: '0', event: { why: 'no' } })

  const unknown = await startServer(t, stream(frame(0, { type: 'answered' })), status(204))
  t.strictSame(await resumeMessage({ url: unknown.url, onEvent () {}, ...hurry }), { status: 'unknown', lastEventId: '0', event: null })
})

t.test('an event that is too large ends the call, and the connection', async (t) => {
  const { url, asked, open: connections } = await startServer(t, open(frame(0, {}), `data: ${'x'.repeat(2_000)}`))
  const seen = watch()
  await t.rejects(resumeMessage({ url, ...seen, ...hurry, maxFrameLength: 1_000 }), { code: 'FST_JOURNAL_CLIENT_FRAME_TOO_LARGE' })
  t.strictSame(seen.ids, ['0'])
  t.equal(asked.length, 1)
  while (connections() > 0) await new Promise(setImmediate)
})

t.test('what a callback throws ends the call', async (t) => {
  const { url, asked, open: connections } = await startServer(t, open(frame(0, {}), frame(1, {})))
  const oops = new RangeError('the page cannot show this')
  const ids: unknown[] = []
  await t.rejects(streamMessage({ url, onEvent: (_, id) => { ids.push(id); throw oops } }), oops)
  await t.rejects(streamMessage({ url, onEvent () {}, onHealth: (health) => { if (health === 'healthy') throw oops } }), oops)
  await t.rejects(streamMessage({ url, onEvent () {}, onHealth: () => { throw oops } }), oops)
  t.strictSame(ids, ['0'])
  t.equal(asked.length, 2)
  while (connections() > 0) await new Promise(setImmediate)
})

t.test('where the message is read: Location, a redirect, the option, or beside the POST', async (t) => {
  const messageId = '0198c0de-7a1e-4c3b-8d6e-0a4c9a1f0001'
  const other = 'e2a5f0de-0000-4000-8000-000000000000'
  const first = broken(frame(0, {}))
  const rest = stream(last(1))
  const headed = (location: string) => (response: Parameters<typeof first>[0], request: Parameters<typeof first>[1]) => first(response.setHeader('location', location), request)
  const exists = { code: 'FST_JOURNAL_MESSAGE_EXISTS' }
  const cases = {
    'a Location beside the POST': [[headed(`../elsewhere/${other}/events`), rest], `/elsewhere/${other}/events`],
    'a Location of the 409': [[status(409, { location: '/there' }, exists), rest], '/there'],
    'nothing but the POST\'s address': [[first, rest], `/api/messages/${messageId}/events`],
    'a 409 without a Location': [[status(409, {}, exists), rest], `/api/messages/${messageId}/events`],
    'a redirect to the message': [[status(303, { location: `/v2/messages/${messageId}/events` }), first, rest], `/v2/messages/${messageId}/events`],
    'a redirect of the POST': [[status(308, { location: '/v2/chat' }), first, rest], `/api/messages/${messageId}/events`],
    'a finished message, by redirect': [[status(303, { location: `/v2/${messageId}` }), status(204)], `/v2/${messageId}`]
  } as const
  for (const [name, [answers, address]] of Object.entries(cases)) {
    const { url, asked } = await startServer(t, ...answers)
    await streamMessage({ url: `${url}/api/chat`, messageId, onEvent () {}, ...hurry })
    t.equal(asked.at(-1)?.url, address, name)
  }

  const { url, asked } = await startServer(t, headed('/ignored'), rest)
  await streamMessage({ url: `${url}/api/chat`, messageId, onEvent () {}, ...hurry, eventsUrl: (id) => `${url}/mine/${id}` })
  t.equal(asked.at(-1)?.url, `/mine/${messageId}`)
})

t.test('a POST that may have arrived is asked for first; one that was turned away is sent again', async (t) => {
  const methods = async (...answers: Parameters<typeof startServer>[1][]): Promise<string> => {
    const { url, asked } = await startServer(t, ...answers, stream(last(0)))
    await streamMessage({ url, onEvent () {}, ...hurry })
    return asked.map(({ method }) => method).join(' ')
  }
  for (const code of [401, 429, 503]) t.equal(await methods(status(code)), 'POST POST', String(code))
  for (const code of [408, 500, 502, 504]) {
    t.equal(await methods(status(code)), 'POST GET', String(code))
    t.equal(await methods(status(code), status(404)), 'POST GET POST', String(code))
    t.equal(await methods(status(code), status(503), status(404)), 'POST GET GET POST', String(code))
  }
  t.equal(await methods(stream('event: busy\ndata: {}\n\n'), status(404)), 'POST GET POST', 'busy')
})

t.test('a message that was there and is no more is not posted again', async (t) => {
  for (const first of [broken(), status(409, {}, { code: 'FST_JOURNAL_MESSAGE_EXISTS' })]) {
    const { url, asked } = await startServer(t, first, status(404))
    await t.rejects(streamMessage({ url, onEvent () {}, ...hurry }), { status: 404, code: 'FST_JOURNAL_CLIENT_REFUSED' })
    t.equal(asked.length, 2)
  }
})

t.test('a POST that is lost each time is given up', async (t) => {
  const { url, asked } = await startServer(t, (response, { method }) => method === 'POST' ? response.socket?.destroy() : response.writeHead(404).end())
  await t.rejects(streamMessage({ url, onEvent () {}, ...hurry }), { code: 'FST_JOURNAL_CLIENT_GAVE_UP' })
  t.equal(asked.length, 20)
})

t.test('a body that JSON cannot hold is refused at once', async (t) => {
  await t.rejects(streamMessage({ url: 'http://127.0.0.1:1', body: { big: 1n }, onEvent () {} }), TypeError)
})

t.test('whatever is cut wherever, and comes in whatever pieces: each event once, in order', async (t) => {
  const payload = fc.dictionary(fc.string({ unit: 'grapheme' }), fc.oneof(fc.string({ unit: 'grapheme' }), fc.integer()), { maxKeys: 3 })
  await fc.assert(fc.asyncProperty(fc.array(payload, { maxLength: 8 }), fc.array(fc.nat({ max: 400 }), { maxLength: 6 }), fc.integer({ min: 1, max: 50 }), async (payloads, cuts, size) => {
    const journal = [...payloads.map((payload) => ({ ...payload, type: 'answer' })), END]
    /** What the library's server would send past a cursor. */
    const bytesFrom = (cursor: string | null): Buffer => Buffer.from(': connected\n\nretry: 0\n\n' + journal.map((payload, no) => frame(no, payload)).slice(cursor === null ? 0 : Number(cursor) + 1).join(''))
    let connections = 0
    const fetch = async (_url: unknown, init?: RequestInit): Promise<Response> => {
      const cursor = new Headers(init?.headers).get('last-event-id')
      if (Number(cursor ?? -1) === journal.length - 1) return new Response(null, { status: 204 })
      const bytes = bytesFrom(cursor)
      const cut = cuts[connections++]
      let sent = 0
      return new Response(new ReadableStream({
        pull (controller) {
          if (sent >= (cut ?? bytes.length)) return cut === undefined ? controller.close() : controller.error(new TypeError('cut'))
          const chunk = bytes.subarray(sent, Math.min(sent + size, cut ?? bytes.length))
          sent += size
          if (chunk.length > 0) controller.enqueue(chunk)
          else controller.error(new TypeError('cut'))
        }
      }), { headers: { 'content-type': 'text/event-stream' } })
    }
    const seen = watch()
    const end = await resumeMessage({ url: 'http://journal.invalid', fetch, ...seen, ...hurry })
    return JSON.stringify([seen.events, end]) === JSON.stringify([
      journal.map((payload, no) => [payload, String(no)]), { status: 'complete', lastEventId: String(journal.length - 1), event: END }
    ])
  }), { numRuns: 200 })
})
