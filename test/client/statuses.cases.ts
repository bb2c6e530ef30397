import { once } from 'node:events'
import t, { type Test } from 'tap'
import { connectEvents, resumeMessage, stopMessage, streamMessage, type HeaderFields } from '../../client/index.js'
import { watch } from './chat.js'
import { END, broken, frame, last, open, silence, startServer, status, stream, type Answer } from './server.js'

const done = stream(last(0))
const hurry = { backoffMs: [0] }
const FINISHED = { status: 'complete', lastEventId: '0', event: END }

/** Waits of more than a second, until the end of the test: they are noted, and run out at once; but not those of `exceptMs`, and fetch's own, whose timers have arguments. */
function hurryTimers (t: Test, exceptMs: number): number[] {
  const asked: number[] = []
  const { setTimeout } = globalThis
  t.intercept(globalThis, 'setTimeout', {
    value: Object.assign((callback: () => void, ms = 0, ...rest: unknown[]) => {
      if (ms <= 1_000 || ms === exceptMs || rest.length > 0) return setTimeout(callback, ms, ...rest)
      asked.push(ms)
      return setTimeout(callback, 0)
    }, { __promisify__: setTimeout.__promisify__ })
  })
  return asked
}

for (const code of [408, 425, 429, 500, 502, 503, 504, 599]) {
  t.test(`${code}: tried again`, async (t) => {
    const { url, asked } = await startServer(t, status(code), status(code), done)
    t.strictSame(await resumeMessage({ url, onEvent () {}, ...hurry }), FINISHED)
    t.equal(asked.length, 3)
  })
}

for (const code of [400, 403, 404, 405, 406, 409, 410, 413, 422]) {
  t.test(`${code}: not tried again, whoever asks`, async (t) => {
    const error = { name: 'JournalClientError', status: code, code: 'FST_JOURNAL_CLIENT_REFUSED', message: `The server answered ${code}` }
    const { url, asked } = await startServer(t, status(code))
    await t.rejects(resumeMessage({ url, onEvent () {}, ...hurry }), error)
    await t.rejects(streamMessage({ url, onEvent () {}, ...hurry }), error)
    await t.rejects(connectEvents({ url, onEvent () {}, ...hurry }), error)
    await t.rejects(stopMessage({ url, ...hurry }), error)
    t.strictSame(asked.map(({ method }) => method), ['GET', 'POST', 'GET', 'POST'])
  })
}

t.test('an error has the server\'s code and message', async (t) => {
  const { url } = await startServer(t, status(403, {}, { code: 'FST_JOURNAL_NOT_OWNER', message: 'Not yours', statusCode: 403 }))
  await t.rejects(streamMessage({ url, onEvent () {} }), { code: 'FST_JOURNAL_NOT_OWNER', message: 'Not yours', status: 403 })
})

const NO_STREAMS: Record<string, Answer> = {
  'a page': status(200, { 'content-type': 'text/html' }, '<h1>Log in</h1>'),
  'an answer without a type': status(200),
  JSON: status(201, { 'content-type': 'application/json' }, { ok: true }),
  'a stream with another name': status(200, { 'content-type': 'text/plain' }, frame(0, END))
}
for (const [name, answer] of Object.entries(NO_STREAMS)) {
  t.test(`${name} in place of a stream is not tried again`, async (t) => {
    const { url, asked } = await startServer(t, answer)
    const seen = watch()
    await t.rejects(streamMessage({ url, ...seen }), { code: 'FST_JOURNAL_CLIENT_NOT_A_STREAM' })
    t.equal(asked.length, 1)
    t.strictSame(seen.events, [])
  })
}

t.test('204 is the end of a message, but no answer to a POST, and none of the user pipe', async (t) => {
  const { url } = await startServer(t, status(204))
  t.strictSame(await resumeMessage({ url, lastEventId: '3', onEvent () {} }), { status: 'unknown', lastEventId: '3', event: null })
  await t.rejects(streamMessage({ url, onEvent () {} }), { status: 204, code: 'FST_JOURNAL_CLIENT_NOT_A_STREAM' })
  await t.rejects(connectEvents({ url, onEvent () {} }), { status: 204, code: 'FST_JOURNAL_CLIENT_NOT_A_STREAM' })
})

t.test('a type with parameters, in any case, is a stream', async (t) => {
  const { url } = await startServer(t, status(200, { 'content-type': 'Text/Event-Stream; charset=utf-8' }, last(0)))
  t.strictSame(await resumeMessage({ url, onEvent () {} }), FINISHED)
})

t.test('an error without an end, and one that is endless', async (t) => {
  const { url } = await startServer(t,
    (response) => { response.writeHead(400, { 'content-length': '100' }).write('{"code":') },
    (response) => {
      response.writeHead(403)
      const write = (): void => { while (response.writable && response.write('x'.repeat(65_536))); }
      response.on('drain', write)
      write()
    })
  await t.rejects(resumeMessage({ url, onEvent () {}, keepaliveTimeoutMs: 50 }), { status: 400, code: 'FST_JOURNAL_CLIENT_REFUSED' })
  await t.rejects(resumeMessage({ url, onEvent () {} }), { status: 403, code: 'FST_JOURNAL_CLIENT_REFUSED' })
})

t.test('Retry-After, in seconds or as a date, and "retry:" are waited for', async (t) => {
  const { url } = await startServer(t,
    status(503, { 'retry-after': '7' }),
    status(429, { 'retry-after': new Date(Date.now() + 3_600_000).toUTCString() }),
    status(503, { 'retry-after': 'soon' }),
    status(503, { 'retry-after': 'Thu, 01 Jan 1970 00:00:00 GMT' }),
    status(503, { 'retry-after': '99999999999' }),
    broken('retry: 4321\n\n'),
    stream('retry: 1234\n\n', 'event: busy\ndata: {}\n\n'),
    done)
  const asked = hurryTimers(t, 54_321)
  t.strictSame(await resumeMessage({ url, onEvent () {}, ...hurry, keepaliveTimeoutMs: 54_321 }), FINISHED)
  const [first, second = 0, ...others] = asked
  t.equal(first, 7_000)
  t.ok(second > 3_590_000 && second <= 3_600_000, `${second} ms are an hour`)
  t.strictSame(others, [2 ** 31 - 1, 4_321, 1_234])
})

t.test('gives up after 20 errors, and says why', async (t) => {
  const { url, asked } = await startServer(t, status(503, {}, { code: 'FST_JOURNAL_DATABASE_UNAVAILABLE', message: 'No database' }))
  const seen = watch()
  await t.rejects(resumeMessage({ url, ...seen, ...hurry }), {
    name: 'JournalClientError', code: 'FST_JOURNAL_CLIENT_GAVE_UP', status: 503, message: 'Gave up after 20 errors: No database', cause: { code: 'FST_JOURNAL_DATABASE_UNAVAILABLE' }
  })
  t.equal(asked.length, 20)
  t.strictSame(seen.health, ['connecting', 'unhealthy'])
})

t.test('a server that is not there, and a stream that never has anything to say, are given up too', async (t) => {
  const { url, asked } = await startServer(t, stream())
  await t.rejects(resumeMessage({ url, onEvent () {}, ...hurry, maxErrors: 3 }), { code: 'FST_JOURNAL_CLIENT_GAVE_UP', cause: { code: 'FST_JOURNAL_CLIENT_LOST' } })
  t.equal(asked.length, 3)
  await t.rejects(resumeMessage({ url: 'http://127.0.0.1:1', onEvent () {}, ...hurry, maxErrors: 3 }), {
    code: 'FST_JOURNAL_CLIENT_GAVE_UP', status: null, cause: { code: 'FST_JOURNAL_CLIENT_LOST', cause: TypeError }
  })
})

t.test('one event a connection is progress', async (t) => {
  const { url } = await startServer(t, ...Array.from({ length: 30 }, (_, id) => broken(frame(id, {}))), stream(last(30)))
  const seen = watch()
  t.match(await resumeMessage({ url, ...seen, ...hurry, maxErrors: 2 }), { lastEventId: '30' })
  t.equal(seen.events.length, 31)
})

t.test('stopping is tried again, but not for long; any success will do', async (t) => {
  const { url, asked } = await startServer(t, status(503), (response) => response.socket?.destroy(), status(202), status(500))
  t.equal(await stopMessage({ url, ...hurry }), undefined)
  t.match(asked, [{ method: 'POST', body: '' }, {}, {}])
  await t.rejects(stopMessage({ url, ...hurry }), { code: 'FST_JOURNAL_CLIENT_GAVE_UP', status: 500 })
  t.equal(asked.length, 3 + 5)
})

t.test('two 401 are tried again, with headers that are asked for each time', async (t) => {
  const { url, asked } = await startServer(t, status(401), status(401), done)
  let token = 0
  t.strictSame(await resumeMessage({ url, onEvent () {}, ...hurry, headers: async () => ({ authorization: `Bearer ${++token}` }) }), FINISHED)
  t.strictSame(asked.map(({ headers }) => headers.authorization), ['Bearer 1', 'Bearer 2', 'Bearer 3'])
})

t.test('the third 401 in a row asks for a fresh token, or other headers, and goes on with them', async (t) => {
  const no = status(401, {}, { code: 'FST_JOURNAL_UNAUTHENTICATED' })
  const { url, asked } = await startServer(t, no, no, no, no, no, no, no, broken(frame(0, {})), no, stream(last(1)))
  const answers = ['fresh', { 'X-Token': 'mine' } satisfies HeaderFields]
  const errors: unknown[] = []
  const end = await streamMessage({
    url,
    body: { prompt: 'hi' },
    onEvent () {},
    ...hurry,
    headers: { Authorization: 'Bearer stale', 'x-token': 'stale' },
    onAuthFailure (error) {
      errors.push(error)
      return answers.shift()
    }
  })
  t.match(end, { lastEventId: '1' })
  t.strictSame(asked.map(({ headers }) => [headers.authorization, headers['x-token']]), [
    ...Array.from({ length: 3 }, () => ['Bearer stale', 'stale']),
    ...Array.from({ length: 3 }, () => ['Bearer fresh', 'stale']),
    ...Array.from({ length: 4 }, () => ['Bearer stale', 'mine'])
  ])
  t.match(errors, [{ status: 401, code: 'FST_JOURNAL_UNAUTHENTICATED' }, { status: 401 }])
  t.strictSame(asked.map(({ method }) => method), [...Array.from({ length: 8 }, () => 'POST'), 'GET', 'GET'], 'a POST that was turned away is no POST')
})

t.test('without an answer to the third 401 it is over; with nothing but bad ones, after 20', async (t) => {
  const { url, asked } = await startServer(t, status(401))
  await t.rejects(resumeMessage({ url, onEvent () {}, ...hurry }), { status: 401, code: 'FST_JOURNAL_CLIENT_REFUSED' })
  await t.rejects(resumeMessage({ url, onEvent () {}, ...hurry, onAuthFailure: async () => null }), { status: 401, code: 'FST_JOURNAL_CLIENT_REFUSED' })
  await t.rejects(resumeMessage({ url, onEvent () {}, ...hurry, onAuthFailure: () => { throw new RangeError('logged out') } }), RangeError)
  t.equal(asked.length, 9)
  await t.rejects(resumeMessage({ url, onEvent () {}, ...hurry, onAuthFailure: () => 'bad' }), { code: 'FST_JOURNAL_CLIENT_GAVE_UP', status: 401 })
  t.equal(asked.length, 29)
})

t.test('headers that cannot be had at the moment are a failed connection', async (t) => {
  const { url, asked } = await startServer(t, done)
  let tries = 0
  const headers = async () => {
    if (++tries < 3) throw new Error('no token server')
    return { authorization: 'Bearer late' }
  }
  t.strictSame(await resumeMessage({ url, onEvent () {}, ...hurry, headers }), FINISHED)
  t.match(asked, [{ headers: { authorization: 'Bearer late' } }])
})

t.test('what the requests look like', async (t) => {
  const { url, asked } = await startServer(t, broken(frame(0, {})), stream(frame(0, {})))
  await t.rejects(streamMessage({ url: `${url}/api/chat`, body: { prompt: 'hi' }, messageId: 'chosen', onEvent () {}, ...hurry, maxErrors: 2 }), { code: 'FST_JOURNAL_CLIENT_GAVE_UP' })
  const [post, get] = asked
  t.match(post, { method: 'POST', url: '/api/chat', headers: { accept: 'text/event-stream', 'content-type': 'application/json', 'last-event-id': undefined } })
  t.equal(post?.body, '{"prompt":"hi","messageId":"chosen"}')
  t.match(get, { method: 'GET', url: '/api/messages/chosen/events', headers: { accept: 'text/event-stream', 'content-type': undefined, 'last-event-id': '0' }, body: '' })
})

t.test('what is no address is not tried again', async (t) => {
  await t.rejects(resumeMessage({ url: '/events', onEvent () {} }), TypeError)
  await t.rejects(streamMessage({ url: '/chat', onEvent () {} }), TypeError)
  await t.rejects(connectEvents({ url: '/events', onEvent () {} }), TypeError)
  await t.rejects(stopMessage({ url: '/stop' }), TypeError)
})

t.test('a dead connection is noticed by its silence, before the answer and in it', async (t) => {
  const { url, cursors } = await startServer(t, silence, open(frame(0, {})), open(), stream(last(1)))
  const seen = watch()
  t.match(await resumeMessage({ url, ...seen, ...hurry, keepaliveTimeoutMs: 60 }), { lastEventId: '1' })
  t.strictSame(cursors(), [undefined, undefined, '0', '0'])
})

t.test('keepalives keep a connection', async (t) => {
  const { url, asked } = await startServer(t, async (response, request) => {
    await open(frame(0, {}))(response, request)
    const beat = setInterval(() => response.write(': keepalive\n\n'), 20)
    await new Promise((resolve) => { setTimeout(resolve, 1_500) }) // twice as long as the client waits
    clearInterval(beat)
    response.end(last(1))
    await once(response, 'close')
  })
  t.match(await resumeMessage({ url, onEvent () {}, ...hurry, keepaliveTimeoutMs: 700 }), { lastEventId: '1' })
  t.equal(asked.length, 1)
})
