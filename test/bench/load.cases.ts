import { createEventBuffer } from 'better-sse'
import fc from 'fast-check'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { frameOf, keyOf, messageIdOf, notificationFrameOf, payloadOf } from '../../bench/harness/workload.js'
import { createBody, WireError } from '../../bench/load/body.js'
import { createConnection } from '../../bench/load/connection.js'
import { createExpected } from '../../bench/load/expected.js'
import { createNotifications } from '../../bench/load/notifications.js'
import { createReading } from '../../bench/load/reading.js'
import { listenOnFreePort } from '../helper/free-port.js'

const KEY = keyOf(messageIdOf(0))
const ROWS = 5
const OPENING = ': connected\n\nretry: 2345\n\n'

function frames (from = 0): string[] {
  return Array.from({ length: ROWS - from }, (_, n) => frameOf('plain', KEY, n + from, n + from === ROWS - 1))
}

/** What a reader makes of the text, cut where `cuts` has it. */
function read (text: string, cuts: number[] = [], cursor = -1) {
  const seen: number[] = []
  const reading = createReading(createExpected('plain', KEY, ROWS), cursor, (n) => { seen.push(n) })
  const buffer = Buffer.from(text)
  const places = [0, ...cuts.filter((cut) => cut < buffer.length).sort((a, b) => a - b), buffer.length]
  for (let part = 1; part < places.length; part++) reading.take(buffer, places[part - 1] ?? 0, places[part] ?? 0)
  return { seen, reading }
}

t.test('a reader of the benchmark takes the frames it must get, however they are cut, and comments between them', async (t) => {
  fc.assert(fc.property(fc.array(fc.nat(1_500)), fc.nat(ROWS), (cuts, comment) => {
    const text = [OPENING, ...frames().flatMap((frame, n) => n === comment ? [': keepalive\n\n', frame] : [frame])].join('')
    const { seen, reading } = read(text, cuts)
    t.same(seen, [0, 1, 2, 3, 4])
    t.equal(reading.last, ROWS - 1)
    t.equal(reading.retryMs, 2345)
  }))
})

t.test('a reader of the benchmark begins behind its cursor', async (t) => {
  t.same(read(frames(3).join(''), [], 2).seen, [3, 4])
  t.throws(() => read(frames(0).join(''), [], 2), WireError)
})

t.test('a frame that is missing, doubled, out of order, altered, cut or too many fails the run', async (t) => {
  const [a = '', b = '', c = '', d = '', end = ''] = frames()
  const wrong = {
    missing: [a, c, d, end],
    doubled: [a, b, b, c],
    'out of order': [b, a],
    altered: [a, b.replace('play', 'plax')],
    'of another message': [frameOf('plain', '7', 0)],
    cut: [a, b.slice(0, -1), c],
    'too many': [a, b, c, d, end, a],
    'with an uncommitted one between': [a, b.replace(/id:.*\n/, ''), c]
  }
  for (const [what, sent] of Object.entries(wrong)) {
    t.throws(() => read(sent.join('')), WireError, what)
    t.throws(() => read(sent.join(''), [1, 100, 250, 300, 333]), WireError, `${what}, in pieces`)
  }
})

t.test('the frames of better-sse are those that the package writes', async (t) => {
  t.equal(frameOf('better-sse', KEY, 1), createEventBuffer().push(payloadOf(KEY, 1), 'message', '1').read())
})

t.test('a chunked body is taken out of its chunks, however it is cut', async (t) => {
  fc.assert(fc.property(fc.array(fc.string({ unit: 'grapheme', minLength: 1 })), fc.array(fc.nat(300)), (parts, cuts) => {
    const chunks = parts.map((part) => `${Buffer.byteLength(part).toString(16)}\r\n${part}\r\n`)
    const buffer = Buffer.from(`${chunks.join('')}0\r\n\r\n`)
    const taken: Buffer[] = []
    const body = createBody(true, (buffer, from, to) => { taken.push(Buffer.from(buffer.subarray(from, to))) })
    const places = [0, ...cuts.filter((cut) => cut < buffer.length).sort((a, b) => a - b), buffer.length]
    let over = false
    for (let part = 1; part < places.length; part++) over = body.take(buffer, places[part - 1] ?? 0, places[part] ?? 0)
    t.equal(over, true)
    t.equal(Buffer.concat(taken).toString(), parts.join(''))
  }))
  t.throws(() => createBody(true, () => {}).take(Buffer.from('data: 1'), 0, 7), WireError)
})

/** A server that answers with these bytes and ends the connection. */
async function answer (t: Test, bytes: string): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => { socket.end(bytes) })
  })
  t.teardown(() => { server.close() })
  return await listenOnFreePort(server)
}

async function connect (port: number): Promise<{ status: number, body: string, error: Error | null }> {
  return await new Promise((resolve) => {
    const result = { status: 0, body: '' }
    createConnection({
      port,
      path: '/',
      headers: {},
      take (buffer, from, to) { result.body += buffer.toString('utf8', from, to) },
      onHead (status) { result.status = status },
      onEnd (error) { resolve({ ...result, error }) }
    })
  })
}

t.test('a connection reads a head and a body, and says how it ended', async (t) => {
  const chunked = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n'
  t.same(await connect(await answer(t, chunked)), { status: 200, body: 'hello', error: null })
  t.same(await connect(await answer(t, 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello')), { status: 200, body: 'hello', error: null })
  t.same(await connect(await answer(t, 'HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nhello')), { status: 503, body: '', error: null })
  t.match((await connect(await answer(t, ''))).error, { message: /closed before/ })
  t.match((await connect(await answer(t, chunked.replace('5\r\n', 'x\r\n')))).error, { name: 'WireError' })
})

t.test('a notification that is missing, doubled, altered, of another user or with an id that is not above the last fails the run', async (t) => {
  const user = 'user-1'
  const read = (sent: string[]): number[] => {
    const seen: number[] = []
    const buffer = Buffer.from(sent.join(''))
    const notifications = createNotifications(user, (n) => { seen.push(n) })
    for (let at = 0; at < buffer.length; at += 50) notifications.take(buffer, at, Math.min(at + 50, buffer.length))
    return seen
  }
  const [a, b, c] = ['9-0', '10-1', '10-10'].map((id, n) => notificationFrameOf(user, n, id)) as [string, string, string] // of three ids
  t.same(read([OPENING, a, b, ': keepalive\n\n', c]), [0, 1, 2])
  t.throws(() => read([a, c]), WireError)
  t.throws(() => read([a, a]), WireError)
  t.throws(() => read([a.replace('play', 'plax')]), WireError)
  t.throws(() => read([notificationFrameOf('user-2', 0, '9-0')]), WireError)
  t.throws(() => read([a, notificationFrameOf(user, 1, '9-0')]), WireError)
  t.throws(() => read([a, notificationFrameOf(user, 1, '8-9')]), WireError)
  t.throws(() => read([a.replace('id: 9-0', 'id: 9-1')]), WireError)
})
