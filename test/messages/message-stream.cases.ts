import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { test } from 'tap'
import type { Message, Produce } from '../../plugin/index.js'
import { startApp } from '../helper/app.js'
import { connect, frames, ids } from '../helper/sse.js'
import { holdInserts, linesAbout, observe } from '../helper/writing.js'

/** POST /ask[/:id] answers with the message's stream. */
function ask (produce: Produce): { extend: (app: FastifyInstance) => void } {
  return {
    extend (app) {
      app.post<{ Params: { id?: string } }>('/ask/:id?', async (request, reply) => {
        const { id } = request.params
        reply.header('x-hook', 'kept')
        return reply.streamMessage(await app.journal.openMessage({ userId: 'ada', ...id !== undefined && { messageId: id } }), produce)
      })
    }
  }
}

/** A door that the test opens. */
function gate (): { opened: Promise<void>, open: () => void } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => { open = resolve })
  return { opened, open }
}

const data = (connection: { events: Array<{ data: string }> }): unknown[] => connection.events.map(({ data }): unknown => JSON.parse(data))

test('streamMessage answers with the events as they are recorded, then the end', async (t) => {
  const first = gate()
  const { url, databaseUrl } = await startApp(t, ask(async (message) => {
    await message.record('answer', { answer: 'a' })
    await first.opened
    await message.record('answer', { answer: 'b' })
  }))
  const database = await observe(t, databaseUrl)

  const client = await connect(t, `${url}/ask`, { method: 'POST' })
  t.equal(client.status, 200)
  t.match(client.response.headers, { 'content-type': 'text/event-stream', 'x-hook': 'kept', 'cache-control': 'no-store, no-transform' })
  await client.until(({ events }) => events.length === 1) // before the producer goes on
  first.open()
  await client.ended

  t.strictSame(data(client), [{ answer: 'a' }, { answer: 'b' }, { type: 'end' }])
  t.strictSame(ids(client), ['0', '1', '2'])
  const messageId = client.response.headers['x-message-id']
  t.match(await database.message(String(messageId)), { status: 'complete' })
})

test('the headers name the message and the reconnect URL, which answers with the same bytes', async (t) => {
  const { url } = await startApp(t, ask(async (message) => {
    for (const answer of ['a', 'é\r\nb', '\ud83d', '\ude00']) await message.record('answer', { answer })
  }))

  const client = await connect(t, `${url}/ask`, { method: 'POST' })
  await client.ended
  const { 'x-message-id': messageId, location } = client.response.headers
  t.equal(location, `/api/messages/${messageId}/events`)
  const again = await connect(t, `${url}${location}`)
  await again.ended

  t.equal(frames(again.raw), frames(client.raw))
  t.equal(again.events.length, 5)
  for (const name of ['content-type', 'cache-control', 'x-accel-buffering']) t.equal(again.response.headers[name], client.response.headers[name])
  t.strictSame(again.comments, client.comments)
})

test('Location has the prefix of the app that the plugin is registered in', async (t) => {
  const { url } = await startApp(t, { prefix: '', ...ask(() => {}) })

  const client = await connect(t, `${url}/ask`, { method: 'POST' })
  await client.ended

  t.equal(client.response.headers['location'], `/messages/${client.response.headers['x-message-id']}/events`)
})

test('the producer goes on when its client is cut, and the client gets the rest with its cursor', async (t) => {
  const rest = gate()
  let message: Message | undefined
  const { url, app, databaseUrl } = await startApp(t, ask(async (opened) => {
    message = opened
    await opened.record('answer', { n: 0 })
    await rest.opened
    await opened.record('answer', { n: 1 })
  }))
  const database = await observe(t, databaseUrl)

  const client = await connect(t, `${url}/ask`, { method: 'POST' })
  await client.until(({ events }) => events.length === 1)
  client.cut()
  while (app.journal.stats().viewers > 0) await new Promise(setImmediate)
  t.equal(message?.signal.aborted, false)
  const again = await connect(t, `${url}${client.response.headers['location']}`, { headers: { 'last-event-id': '0' } })
  rest.open()
  await again.ended

  t.strictSame(data(again), [{ n: 1 }, { type: 'end' }])
  t.match(await database.message(message?.messageId ?? ''), { status: 'complete' })
})

test('a client that chose the UUID resumes a POST whose answer never came', async (t) => {
  const started = gate()
  const { url } = await startApp(t, ask(async (message) => {
    await message.record('answer', { n: 0 })
    started.open()
    await message.record('answer', { n: 1 })
  }))
  const messageId = randomUUID()

  const post = request(`${url}/ask/${messageId}`, { method: 'POST', agent: false })
  post.on('error', () => {})
  post.end()
  await started.opened
  post.destroy()
  const client = await connect(t, `${url}/api/messages/${messageId}/events`)
  await client.ended

  t.strictSame(data(client), [{ n: 0 }, { n: 1 }, { type: 'end' }])
})

test('a producer that throws is logged and is a durable error to every reader, without its text', async (t) => {
  const { url, lines, databaseUrl } = await startApp(t, ask(async (message) => {
    await message.record('answer', { n: 0 })
    throw new Error('password is hunter2')
  }))
  const database = await observe(t, databaseUrl)

  const client = await connect(t, `${url}/ask`, { method: 'POST' })
  await client.ended
  const again = await connect(t, `${url}${client.response.headers['location']}`)
  await again.ended

  for (const { events, raw } of [client, again]) {
    t.strictSame(data({ events }), [{ n: 0 }, { type: 'error', error: 'The answer could not be completed.', code: 'producer_failed' }])
    t.notMatch(raw, 'hunter2')
  }
  const messageId = String(client.response.headers['x-message-id'])
  t.match(await database.message(messageId), { status: 'failed', error: 'password is hunter2' })
  t.match(linesAbout(lines, 'a producer failed'), [{ level: 50, messageId, userId: 'ada', err: { message: 'password is hunter2', stack: /message-stream/ } }])
})

for (const [what, produce] of [
  ['that throws before it awaits', () => { throw new Error('at once') }],
  ['that throws an object which cannot be shown', async () => { throw Object.create(null) }]
] as const) {
  test(`a producer ${what} is a durable error`, { timeout: 5_000 }, async (t) => {
    const { url } = await startApp(t, ask(produce))

    const client = await connect(t, `${url}/ask`, { method: 'POST' })
    await client.ended

    t.match(data(client), [{ type: 'error' }])
  })
}

test('a producer that has ended its message itself is left with that end', async (t) => {
  const { url } = await startApp(t, ask(async (message) => { await message.end({ reason: 'mine' }) }))

  const client = await connect(t, `${url}/ask`, { method: 'POST' })
  await client.ended

  t.strictSame(data(client), [{ type: 'end', reason: 'mine' }])
})

test('streamMessage of a continued message begins at its first event', async (t) => {
  const { url, app } = await startApp(t, ask(async (message) => { await message.record('answer', { n: 1 }) }))
  const earlier = await app.journal.openMessage({ userId: 'ada' })
  await earlier.record('answer', { n: 0 })

  const client = await connect(t, `${url}/ask/${earlier.messageId}`, { method: 'POST' })
  await client.ended

  t.strictSame(data(client), [{ n: 0 }, { n: 1 }, { type: 'end' }])
})

test('streamMessage of a message that is opened again after its end goes on past that end, however long its producer thinks', async (t) => {
  const thought = gate()
  const { url, app } = await startApp(t, ask(async (message) => {
    await thought.opened
    await message.record('answer', { n: 1 })
  }))
  const earlier = await app.journal.openMessage({ userId: 'ada' })
  await earlier.record('answer', { n: 0 })
  await earlier.end({ reason: 'approval' })

  const client = await connect(t, `${url}/ask/${earlier.messageId}`, { method: 'POST' })
  await client.until(({ events }) => events.length === 2)
  const other = await connect(t, `${url}/ask`, { method: 'POST' }) // a whole answer in between
  thought.open()
  await Promise.all([client.ended, other.ended])

  t.strictSame(data(client), [{ n: 0 }, { type: 'end', reason: 'approval' }, { n: 1 }, { type: 'end' }])
})

test('shutdown tells the producer to stop, takes what it still records, and leaves the message open', async (t) => {
  const ran = gate()
  let message: Message | undefined
  const { url, app, databaseUrl } = await startApp(t, ask(async (opened) => {
    message = opened
    await opened.record('answer', { n: 0 })
    await once(opened.signal, 'abort')
    t.equal(await opened.record('answer', { n: 1 }), true)
    ran.open()
  }))
  const database = await observe(t, databaseUrl)
  const client = await connect(t, `${url}/ask`, { method: 'POST' })
  await client.until(({ events }) => events.length === 1)

  await Promise.all([app.close(), ran.opened, client.ended])

  const messageId = message?.messageId ?? ''
  t.match(message?.signal.reason, { code: 'FST_JOURNAL_CLOSED' })
  t.match(await database.message(messageId), { status: 'streaming' })
  t.strictSame((await database.rows(messageId)).map((row) => row.payload), ['{"n":0}', '{"n":1}'])
})

test('a producer that shutdown makes throw leaves the message open', async (t) => {
  let messageId = ''
  const { url, app, databaseUrl, lines } = await startApp(t, ask(async (message) => {
    messageId = message.messageId
    await message.record('answer', { n: 0 })
    await once(message.signal, 'abort')
    message.signal.throwIfAborted()
  }))
  const database = await observe(t, databaseUrl)
  const client = await connect(t, `${url}/ask`, { method: 'POST' })
  await client.until(({ events }) => events.length === 1)

  await Promise.all([app.close(), client.ended])

  t.match(await database.message(messageId), { status: 'streaming' })
  t.equal((await database.rows(messageId)).length, 1)
  t.strictSame(linesAbout(lines, 'a producer failed'), [])
})

test('after shutdown began nothing is opened; what was being opened is told to stop', async (t) => {
  const begun = gate()
  const { app, databaseUrl } = await startApp(t, {
    extend (app) { app.addHook('preClose', async () => { begun.open() }) }
  })
  const database = await observe(t, databaseUrl)
  const [messageId, otherId] = [await database.addMessage(), await database.addMessage()]
  const release = await holdInserts(t, databaseUrl) // what is being committed keeps the pool open
  const recorded = app.journal.recordEvent(otherId, 0, 'answer', {})
  await database.query('begin')
  await database.query('select from messages where message_id = $1 for update', [messageId])

  const opening = app.journal.openMessage({ userId: 'ada', messageId })
  const closed = app.close()
  await begun.opened
  await t.rejects(app.journal.openMessage({ userId: 'ada' }), { code: 'FST_JOURNAL_CLOSED', statusCode: 503 })
  await database.query('commit')

  t.match((await opening).signal.reason, { code: 'FST_JOURNAL_CLOSED' })
  await release()
  t.equal(await recorded, true)
  await closed
})
