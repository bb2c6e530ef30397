import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect as connectTcp, type Socket } from 'node:net'
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startApp } from '../helper/app.js'
import { startAppProcess } from '../helper/app-process.js'
import { eventually, has, insertEvents, makeMessage, upTo } from '../helper/journal.js'
import { connect, ids } from '../helper/sse.js'

/** More than the kernel's buffers take, so that a socket whose reader stops is blocked. */
const LARGE = { count: 2_200, bytes: 10_000 }
const STALL_MS = 800

interface RawReader {
  socket: Socket
  ids (): string[]
  /** Whether it has this event, and so the end of what there is. */
  endsWith (id: number): boolean
  hasEnd (): boolean
}

const inKiB = (bytes: number) => Math.round(bytes / 1024)

/** A client that reads what it is told to; after the test it is gone. */
function openRaw (t: Test, url: string, cursor?: string): RawReader {
  const { port, pathname } = new URL(url)
  const socket = connectTcp(Number(port), '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  socket.on('error', () => {})
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk) => { text += chunk })
  socket.pause()
  socket.write(`GET ${pathname} HTTP/1.1\r\nhost: test\r\nx-user: ada\r\n${cursor === undefined ? '' : `last-event-id: ${cursor}\r\n`}\r\n`)
  return {
    socket,
    hasEnd: () => text.slice(-100).includes('{"type":"end"}'),
    endsWith: (id) => text.slice(-100).includes(`id: ${id}\n\n`),
    ids: () => [...text.matchAll(/^id: (\d+)\n\n/gm)].map(([, id = '']) => id)
  }
}

t.test('a reader that stops reading is cut after stallTimeoutMs, and goes on with its cursor', async (t) => {
  const { app, url, databaseUrl } = await startApp(t, { stallTimeoutMs: STALL_MS })
  const messageId = await makeMessage(databaseUrl)
  await insertEvents(databaseUrl, messageId, LARGE)
  const path = `${url}/api/messages/${messageId}/events`
  const stalled = openRaw(t, path)
  await eventually(() => app.journal.stats().viewers === 1)
  await eventually(() => app.journal.stats().viewers === 0)
  t.equal(app.journal.stats().topics, 0, 'and its subscription is given back')
  const closed = new Promise((resolve) => { stalled.socket.on('close', resolve) })
  stalled.socket.resume()
  await closed
  const got = stalled.ids()
  t.ok(got.length < LARGE.count)
  t.same(got, upTo(got.length))

  const again = await connect(t, path, { headers: { 'last-event-id': got.at(-1) } })
  await again.until(has(LARGE.count - got.length))
  t.same([...got, ...ids(again)], upTo(LARGE.count))
})

t.test('a reader that does not read is cut after stallTimeoutMs, not after twice that', async (t) => {
  const stallTimeoutMs = 3_200
  const partMs = stallTimeoutMs / 8 // the server counts in these, too
  const sockets: Array<ServerResponse['socket']> = []
  const { app, url, databaseUrl } = await startApp(t, {
    stallTimeoutMs,
    extend (app) { app.addHook('onRequest', async (_request, { raw }) => { sockets.push(raw.socket) }) }
  })
  const messageId = await makeMessage(databaseUrl)
  await insertEvents(databaseUrl, messageId, LARGE)
  openRaw(t, `${url}/api/messages/${messageId}/events`)
  await eventually(() => app.journal.stats().viewers === 1)
  // A busy machine makes the parts longer, here as in the server
  let parts = 0
  for (let written = -1; app.journal.stats().viewers === 1; parts++) {
    await delay(partMs)
    if (sockets[0]?.bytesWritten === written) continue
    parts = 0
    written = Number(sockets[0]?.bytesWritten)
  }
  t.ok(parts >= 6 && parts <= 12, `${parts} eighths of stallTimeoutMs`)
})

/** A reader that has stopped with next to nothing unsent, and the server's side of it. */
async function stopNearlySent (t: Test, options: { stallTimeoutMs: number, keepaliveMs: number }) {
  const responses: ServerResponse[] = []
  const { app, url } = await startApp(t, {
    ...options,
    extend (app) { app.addHook('onRequest', async (_request, { raw }) => { responses.push(raw) }) }
  })
  const message = await app.journal.openMessage({ userId: 'ada' })
  const reader = openRaw(t, `${url}/api/messages/${message.messageId}/events`)
  await eventually(() => responses[0]?.headersSent === true)
  const response = responses[0] as ServerResponse // it has been seen
  const written = () => response.socket?.bytesWritten ?? 0
  while (response.writableLength === 0) { // until the kernel has taken all that it will
    const before = written()
    await message.record('answer', { padding: 'x'.repeat(2_000) })
    while (written() === before) await turn()
    if (response.writableLength > 0) await delay(20) // it is not just on its way
  }
  t.equal(response.writableNeedDrain, false, `${response.writableLength} bytes`)
  return { app, message, reader, response }
}

for (const [when, ends] of [['in the middle', false], ['before the end', true]] as const) {
  t.test(`a reader that stops ${when} with next to nothing unsent is cut too`, async (t) => {
    const { app, message, reader } = await stopNearlySent(t, { stallTimeoutMs: STALL_MS, keepaliveMs: 50 })
    if (ends) t.equal(await message.end(), true)
    await eventually(() => app.journal.stats().viewers === 0)
    t.equal(reader.socket.destroyed, false, 'it was not the client who left')
  })
}

t.test('a reader that reads again before that is not cut, though nothing comes for longer', async (t) => {
  const stallTimeoutMs = 1_000
  const { message, reader, response } = await stopNearlySent(t, { stallTimeoutMs, keepaliveMs: 2 * stallTimeoutMs })
  await eventually(() => Number(response.socket?.timeout) > 0)
  reader.socket.resume()
  await eventually(() => response.socket?.timeout === 0)
  t.equal(await message.end(), true)
  await eventually(() => reader.hasEnd())
})

t.test('a reader that is slow, but moves, is not cut', async (t) => {
  const { app, url, databaseUrl } = await startApp(t, { stallTimeoutMs: STALL_MS })
  const messageId = await makeMessage(databaseUrl)
  await insertEvents(databaseUrl, messageId, LARGE)
  const { socket, ids, endsWith } = openRaw(t, `${url}/api/messages/${messageId}/events`)
  const slowUntil = performance.now() + 3 * STALL_MS
  while (performance.now() < slowUntil) {
    const chunk: string | null = socket.read()
    if (chunk === null) await once(socket, 'readable')
    else await delay(STALL_MS / 30) // this is how slow it is: some 2 MB a second
  }
  t.equal(app.journal.stats().viewers, 1)
  t.equal(await app.journal.recordEvent(messageId, LARGE.count, 'end', { type: 'end' }), true)
  socket.resume()
  await eventually(() => endsWith(LARGE.count))
  t.same(ids(), upTo(LARGE.count + 1))
})

t.test('a reader that looks away while much is written gets it from the journal, once and in order', async (t) => {
  const { app, url } = await startApp(t)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const path = `${url}/api/messages/${message.messageId}/events`
  const [slow, quick] = [await connect(t, path), await connect(t, path)]
  slow.response.pause()
  for (let no = 0; no < LARGE.count; no += 100) {
    await Promise.all(Array.from({ length: 100 }, async () => await message.record('answer', { text: 'x'.repeat(LARGE.bytes) })))
  }
  await quick.until(has(LARGE.count))
  t.ok(slow.events.length < LARGE.count)
  slow.response.resume()
  t.equal(await message.end(), true)
  for (const reader of [slow, quick]) {
    await reader.ended
    t.same(ids(reader), upTo(LARGE.count + 1))
  }
})

t.test('a reader that never reads costs less than 1 MiB, on a message with 100,000 events', async (t) => {
  const { databaseUrl } = await startApp(t)
  const redisUrl = process.env.TEST_REDIS_URL ?? ''
  const child = await startAppProcess(t, { databaseUrl, redisUrl, maxConnectionsPerUser: 0 })
  const messageId = await makeMessage(databaseUrl)
  const events = 100_000
  // Text outside Latin 1 takes twice the memory wherever it is kept as a string
  await insertEvents(databaseUrl, messageId, { count: events, bytes: 200, text: 'x – y' })
  const path = `${child.url}/api/messages/${messageId}/events`

  /** After the garbage is gone, and nothing more comes. */
  async function memory (viewers: number): Promise<number> {
    for (let last = Infinity; ;) {
      const now = await child.ask<{ bytes: number, viewers: number }>('/memory')
      if (now.viewers === viewers && Math.abs(now.bytes - last) < 16 * 1024) return now.bytes
      last = now.bytes
    }
  }

  const warm = openRaw(t, path, String(events / 2)) // what is compiled and prepared once is not the reader's cost
  warm.socket.resume()
  await eventually(() => warm.endsWith(events - 1))
  warm.socket.destroy()
  await memory(0)

  /** What one costs, while it is there. */
  async function cost (): Promise<number> {
    const before = await memory(0)
    const { socket } = openRaw(t, path)
    const bytes = await memory(1) - before
    socket.destroy()
    return bytes
  }

  await cost() // and so for one that does not read
  const costs: number[] = []
  while (costs.length < 5) costs.push(await cost())
  // Between two looks, the process may have made a connection, or code, that is not the reader's either
  const one = Number(costs.toSorted((a, b) => a - b)[2])
  const before = await memory(0)
  for (let more = 0; more < 10; more++) openRaw(t, path)
  const ten = await memory(10) - before
  t.comment(`one reader that never reads: ${costs.map(inKiB).join(', ')} KiB; ten: ${inKiB(ten)} KiB`)
  t.ok(one < 1024 * 1024)
  t.ok(ten < 10 * 1024 * 1024)
})
