import { test, type Test } from 'tap'
import { addCell, EMPTY_STRIP } from '../../demo/page/strip.js'
import { createWire } from '../../demo/page/wire.js'

/** One answer's wire, whose server and clock are this test. */
function createWorld (t: Test) {
  let time = 0
  let server: ReadableStreamDefaultController<Uint8Array>
  let aborted = false
  let isRedisAway = false
  const wire = createWire({
    isRedisAway: () => isRedisAway,
    now: () => time,
    async fetch (_input, init) {
      const body = new ReadableStream<Uint8Array>({ start (controller) { server = controller } })
      init?.signal?.addEventListener('abort', () => {
        aborted = true
        server.error(init.signal?.reason)
      })
      return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
    }
  })
  return {
    wire,
    get aborted () { return aborted },
    stopRedis () { isRedisAway = true },
    async open (method: string, cursor?: string) {
      const response = await wire.fetch('/', { method, headers: cursor === undefined ? {} : { 'last-event-id': cursor } })
      const reader = response.body?.getReader()
      if (reader === undefined) throw new Error('no body')
      return {
        /** Sends these events at once, so many ms after the last ones, and reads them as the client would. */
        async send (afterMs: number, ...ids: number[]) {
          time += afterMs
          const text = ids.map((id) => `data: {}\nid: ${id}\n\n`).join('')
          server.enqueue(new TextEncoder().encode(text))
          const { value } = await reader.read()
          t.equal(new TextDecoder().decode(value), text, 'nothing is changed on the way')
          return ids.map((id) => wire.arrivalOf(id))
        },
        read: () => reader.read()
      }
    }
  }
}

test('what comes as it is written is live', async (t) => {
  const { open, wire } = createWorld(t)
  const connection = await open('POST')
  t.same(await connection.send(5, 0, 1), ['live', 'live'])
  t.same(await connection.send(25, 2), ['live'])
  t.equal(wire.doubled, 0)
})

test('after a reconnect the backlog is replayed, and what follows is live', async (t) => {
  const { open, wire } = createWorld(t)
  const connection = await open('GET', '4')
  t.same(await connection.send(5, 5, 6, 7, 8), ['replayed', 'replayed', 'replayed', 'replayed'])
  t.same(await connection.send(2, 9), ['replayed'], 'the rest of a page')
  t.same(await connection.send(25, 10), ['live'])
  t.equal(wire.doubled, 0)
  t.equal(wire.connections, 1)
})

test('a burst after a silence is repaired, and what follows is live', async (t) => {
  const { open } = createWorld(t)
  const connection = await open('POST')
  t.same(await connection.send(5, 0), ['live'])
  t.same(await connection.send(5_000, 1, 2, 3, 4, 5, 6), Array(6).fill('repaired'))
  t.same(await connection.send(25, 7), ['live'])
})

test('while Redis is away, what the server finds in the journal at its looks is repaired', async (t) => {
  const { open, stopRedis } = createWorld(t)
  const connection = await open('GET', '3')
  stopRedis()
  t.same(await connection.send(5, 4, 5), ['replayed', 'replayed'])
  t.same(await connection.send(300, 6, 7, 8, 9), Array(4).fill('repaired'))
  t.same(await connection.send(300, 10, 11), Array(2).fill('repaired'))
  t.same(await connection.send(25, 12), ['live'], 'the process that writes needs no Redis')
})

test('what the cursor or the connection had already is doubled', async (t) => {
  const { open, wire } = createWorld(t)
  const first = await open('POST')
  await first.send(5, 0, 1, 1)
  t.equal(wire.doubled, 1)
  const second = await open('GET', '1')
  await second.send(5, 1, 2)
  t.equal(wire.doubled, 2)
})

test('cut breaks the open connection only', async (t) => {
  const world = createWorld(t)
  t.equal(world.wire.cut(), false)
  const connection = await world.open('POST')
  t.equal(world.wire.cut(), true)
  t.ok(world.aborted)
  await t.rejects(connection.read())
})

test('a strip counts all events, keeps the newest, and sees a hole', (t) => {
  let strip = EMPTY_STRIP
  for (let no = 0; no < 5_000; no++) strip = addCell(strip, { no, arrival: 'live' })
  t.equal(strip.counts.live, 5_000)
  t.ok(strip.cells.length <= 100)
  t.equal(strip.cells.at(-1)?.no, 4_999)
  t.equal(strip.counts.missing, 0)
  t.equal(addCell(strip, { no: 5_003, arrival: 'live' }).counts.missing, 3)
  t.end()
})
