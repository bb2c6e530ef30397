import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startApp } from '../helper/app.js'
import { addMessage } from '../helper/journal.js'
import { connect, ids, type Connection } from '../helper/sse.js'

const { app, url } = await startApp(t, { keepaliveMs: 10 })

/** The server's side of each response, by path. */
const responses = new Map<string, ServerResponse>()
app.server.on('request', (request: IncomingMessage, response: ServerResponse) => { responses.set(request.url ?? '', response) })

const CHUNK = 'x'.repeat(60_000)

/** A reader that has event 0 and then reads no more. */
async function stall (t: Test) {
  const messageId = await addMessage(app)
  const path = `/api/messages/${messageId}/events`
  const reader = await connect(t, url + path)
  await app.journal.recordEvent(messageId, 0, 'answer')
  await reader.until(({ events }) => events.length === 1)
  reader.response.pause()
  const response = responses.get(path)
  if (response === undefined) throw new Error('no such response')
  return { messageId, reader, response }
}

function range (to: number): string[] {
  return Array.from({ length: to }, (_, i) => String(i))
}

/** Another viewer, which shows that time goes by. */
async function openIdle (t: Test): Promise<Connection> {
  const messageId = await addMessage(app)
  return await connect(t, `${url}/api/messages/${messageId}/events`)
}

t.test('a reader that never reads costs a bounded buffer, whatever is recorded, and gets everything when it reads again', async (t) => {
  const { messageId, reader, response } = await stall(t)
  const events = 300
  let most = 0
  for (let i = 1; i <= events; i++) {
    await app.journal.recordEvent(messageId, i, 'answer', { chunk: CHUNK })
    most = Math.max(most, response.writableLength)
  }
  t.ok(response.writableNeedDrain, 'the socket is blocked')
  t.ok(most < 1024 * 1024, `${most} bytes were waiting at the most, of ${events * CHUNK.length}`)
  reader.response.resume()
  await app.journal.recordEvent(messageId, events + 1, 'end')
  await reader.ended
  t.same(ids(reader), range(events + 2))
})

t.test('a reader that stalls does not hold up its neighbours', async (t) => {
  const { messageId, reader } = await stall(t)
  const neighbour = await connect(t, `${url}/api/messages/${messageId}/events`)
  for (let i = 1; i <= 300; i++) await app.journal.recordEvent(messageId, i, 'answer', { chunk: CHUNK })
  await neighbour.until(({ events }) => events.length === 301)
  t.ok(reader.events.length < 301)
  await app.journal.recordEvent(messageId, 301, 'end')
  await neighbour.ended
  reader.response.resume()
  await reader.ended
  t.same([ids(neighbour), ids(reader)], [range(302), range(302)])
})

t.test('a reader that stops and goes on by turns gets everything once and in order', async (t) => {
  const { messageId, reader } = await stall(t)
  for (let i = 1; i <= 400; i++) {
    await app.journal.recordEvent(messageId, i, 'answer', { chunk: CHUNK })
    if (i % 37 === 0) reader.response.resume()
    if (i % 53 === 0) reader.response.pause()
  }
  reader.response.resume()
  await app.journal.recordEvent(messageId, 401, 'end')
  await reader.ended
  t.same(ids(reader), range(402))
})

t.test('no keepalive goes into a blocked socket, be there much behind it or nothing', async (t) => {
  const idle = await openIdle(t)
  const beats = async (count: number): Promise<void> => {
    const { length } = idle.comments
    await idle.until(({ comments }) => comments.length >= length + count)
  }
  for (const behind of [0, 100]) {
    const { messageId, reader, response } = await stall(t)
    let next = 1
    let waiting: number
    do { // until the kernel has taken all that it will
      await app.journal.recordEvent(messageId, next++, 'answer', { chunk: CHUNK })
      await beats(1)
      waiting = response.writableLength
      if (response.writableNeedDrain) await beats(4)
    } while (!response.writableNeedDrain || response.writableLength !== waiting)
    for (let i = 0; i < behind; i++) await app.journal.recordEvent(messageId, next++, 'answer', { chunk: CHUNK })
    await beats(40)
    t.equal(response.writableLength, waiting, 'it was blocked all the time')
    reader.response.resume()
    await reader.until(({ events }) => events.length === next)
    const runs = [...reader.raw.matchAll(/(?:: keepalive\n\n)+/g)].map(([run]) => run.split('\n\n').length - 1)
    t.ok(Math.max(0, ...runs) < 20, `runs of ${runs.join()} keepalives with ${behind} events behind`)
    const { length } = reader.comments
    await reader.until(({ comments }) => comments.length > length + 2)
    t.same(ids(reader), range(next), 'and when it has drained, they go on')
  }
})

t.test('at shutdown a reader that does not read is cut, and does not hold the app up', async (t) => {
  const { app, url } = await startApp(t)
  const answering = once(app.server, 'request')
  const messageId = await addMessage(app)
  await app.pg.query(`insert into message_events (message_id, sequence_no, event_type, payload)
    select $1, n, 'answer', json_build_object('answer', repeat('x', 10000)) from generate_series(0, 1999) n`, [messageId])
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
  await reader.until(({ events }) => events.length > 0)
  reader.response.pause()
  const [, response] = await answering as [IncomingMessage, ServerResponse]
  while (!response.writableNeedDrain) await turn()
  await app.close()
  t.match(app.journal.stats(), { viewers: 0, topics: 0 })
  reader.response.resume()
  await t.rejects(reader.ended, { code: 'ECONNRESET' })
})
