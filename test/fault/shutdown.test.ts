import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import type { LightMyRequestResponse } from 'fastify'
import t from 'tap'
import { startApp } from '../helper/app.js'
import { eventsOf, eventually, has, insertEvents, makeMessage, statusOf, upTo } from '../helper/journal.js'
import { connect, ids } from '../helper/sse.js'

const TIMES = { heartbeatMs: 100, reconcileMs: 200, maxConnectionsPerUser: 0 }
const MESSAGES = 50
const VIEWERS = 1_000
/** On an idle machine it is under a second; what must not happen is that something waits for a timeout of its own. */
const CLOSE_MS = 5_000

t.test('app.close() in mid-stream: readers end without a terminal and with a retry, and go on elsewhere', async (t) => {
  const one = await startApp(t, TIMES)
  const { databaseUrl } = one
  const two = await startApp(t, { ...TIMES, databaseUrl, migrate: false })
  const message = await one.app.journal.openMessage({ userId: 'ada' })
  const reader = await connect(t, `${one.url}/api/messages/${message.messageId}/events`)
  t.equal(await message.record('answer', { no: 0 }), true)
  await reader.until(has(1))
  const inFlight = Array.from({ length: 100 }, async (_, no) => await message.record('answer', { no: no + 1 }))
  const closed = one.app.close()
  await once(message.signal, 'abort')
  t.match(message.signal.reason, { code: 'FST_JOURNAL_CLOSED' })
  await reader.ended
  t.same(ids(reader).at(-1), String(reader.events.length - 1))
  t.equal(reader.retries.length, 2, 'one at the start, one at the end')
  t.notOk(reader.events.some(({ data }) => data.includes('"end"')))
  await closed
  t.ok((await Promise.all(inFlight)).every((committed) => committed), 'what was recorded is in the table')
  t.equal((await eventsOf(databaseUrl, message.messageId)).length, 101)
  await t.rejects(one.app.journal.openMessage({ userId: 'ada' }), { code: 'FST_JOURNAL_CLOSED' })

  const again = await connect(t, `${two.url}/api/messages/${message.messageId}/events`, { headers: { 'last-event-id': ids(reader).at(-1) } })
  const next = await two.app.journal.openMessage({ userId: 'ada', messageId: message.messageId })
  t.equal(await next.end(), true)
  await again.ended
  t.same([...ids(reader), ...ids(again)], upTo(102))
})

t.test('the lease is given up: where nobody continues the message, its readers learn after one heartbeatMs, not after producerIdleMs', async (t) => {
  const one = await startApp(t, TIMES)
  const { databaseUrl } = one
  const two = await startApp(t, { ...TIMES, databaseUrl, migrate: false }) // producerIdleMs is 90 s
  const message = await one.app.journal.openMessage({ userId: 'ada' })
  const reader = await connect(t, `${two.url}/api/messages/${message.messageId}/events`)
  t.equal(await message.record('answer', {}), true)
  await one.app.close()
  await reader.ended
  t.match(JSON.parse(reader.events.at(-1)?.data ?? ''), { type: 'error', code: 'producer_stale' })
  t.equal(await statusOf(databaseUrl, message.messageId), 'failed')
})

t.test('until one heartbeatMs after the close, no process ends the message: another one may go on with it', async (t) => {
  const times = { ...TIMES, heartbeatMs: 30_000, reconcileMs: 20 }
  const one = await startApp(t, times)
  const { databaseUrl } = one
  const two = await startApp(t, { ...times, databaseUrl, migrate: false })
  const { messageId } = await one.app.journal.openMessage({ userId: 'ada' })
  const reader = await connect(t, `${two.url}/api/messages/${messageId}/events`)
  await one.app.close()
  const unpublished = await makeMessage(databaseUrl)
  const other = await connect(t, `${two.url}/api/messages/${unpublished}/events`)
  for (const first of [0, 1]) { // each is found by a tick, so that at least one whole tick has passed since the close
    await insertEvents(databaseUrl, unpublished, { first })
    await other.until(has(first + 1))
  }
  const next = await two.app.journal.openMessage({ userId: 'ada', messageId })
  t.equal(await next.end(), true)
  await reader.ended
  t.same(reader.events.map(({ data }) => data), ['{"type":"end"}'])
})

t.test('a producer that ends its message on the signal has the time to', async (t) => {
  const { app, databaseUrl } = await startApp(t, TIMES)
  const message = await app.journal.openMessage({ userId: 'ada' })
  message.signal.addEventListener('abort', () => { message.end({ reason: 'interrupted' }) })
  await app.close()
  t.same((await eventsOf(databaseUrl, message.messageId)).map(({ payload }) => payload), [{ type: 'end', reason: 'interrupted' }])
  t.equal(await statusOf(databaseUrl, message.messageId), 'complete')
})

t.test('1,000 viewers and 50 producers: close is quick, and all of them finish on another process without loss', async (t) => {
  const one = await startApp(t, TIMES)
  const { databaseUrl } = one
  const two = await startApp(t, { ...TIMES, databaseUrl, migrate: false })
  const messages = await Promise.all(Array.from({ length: MESSAGES }, async () => await one.app.journal.openMessage({ userId: 'ada' })))
  const readers = Array.from({ length: VIEWERS }, (_, index) => {
    const { messageId = '' } = messages[index % MESSAGES] ?? {}
    return { messageId, seen: [] as string[] }
  })
  /** As light as it can be: the test is not to be what is slow. Resolves when the response has ended. */
  const read = async (url: string, reader: typeof readers[number], onOpen = () => {}) => {
    const cursor = reader.seen.at(-1)
    const request = http.get(`${url}/api/messages/${reader.messageId}/events`, {
      agent: false,
      headers: { 'x-user': 'ada', ...cursor !== undefined && { 'last-event-id': cursor } }
    })
    t.teardown(() => { request.destroy() })
    const [response] = await once(request, 'response') as [IncomingMessage]
    onOpen()
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) text += chunk
    for (const [, id = ''] of text.matchAll(/^id: (\d+)$/gm)) reader.seen.push(id)
    return text
  }
  let open = 0
  const ended = readers.map(async (reader) => await read(one.url, reader, () => { open++ }))
  await eventually(() => open === VIEWERS)
  t.match(one.app.journal.stats(), { viewers: VIEWERS, topics: MESSAGES, producers: MESSAGES })

  const produced = messages.map(async (message) => {
    let events = 0
    while (!message.signal.aborted) if (await message.record('answer', { no: events })) events++
    return events
  })
  await eventually(async () => (await eventsOf(databaseUrl, messages[0]?.messageId ?? '')).length > 3)
  const closing = performance.now()
  await one.app.close()
  const took = Math.round(performance.now() - closing)
  t.comment(`close() with ${VIEWERS} viewers and ${MESSAGES} producers: ${took} ms`)
  t.ok(took < CLOSE_MS, `${took} ms`)
  const texts = await Promise.all(ended)
  t.ok(texts.every((text) => (text.match(/^retry: \d+$/gm) ?? []).length === 2), 'each was told when to come back')
  const retries = new Set(texts.map((text) => [...text.matchAll(/^retry: (\d+)$/gm)].at(-1)?.[1]))
  t.ok(retries.size > VIEWERS / 10, 'and not all at the same time')

  const rows = new Map<string, number>()
  for (const [index, message] of messages.entries()) {
    const { length } = await eventsOf(databaseUrl, message.messageId)
    t.equal(length, await produced[index], 'true exactly for what is in the table')
    rows.set(message.messageId, length)
  }
  const continued = await Promise.all(messages.map(async ({ messageId }) => await two.app.journal.openMessage({ userId: 'ada', messageId })))
  open = 0
  const again = readers.map(async (reader) => await read(two.url, reader, () => { open++ }))
  await eventually(() => open === VIEWERS)
  for (const message of continued) t.equal(await message.end(), true)
  await Promise.all(again)
  const wrong = readers.filter(({ messageId, seen }) => seen.join() !== upTo((rows.get(messageId) ?? 0) + 1).join())
  t.equal(wrong.length, 0, 'each reader has every event once, in order')
})

t.test('a reader whose request is under way when the shutdown begins is sent elsewhere', async (t) => {
  const { promise: closing, resolve: begin } = defer()
  const { promise: identified, resolve: arrive } = defer()
  const answers: Array<Promise<LightMyRequestResponse>> = []
  const { app, databaseUrl } = await startApp(t, {
    ...TIMES,
    async identify () {
      arrive()
      await closing
      return 'ada'
    },
    extend: (app) => {
      app.addHook('preClose', async () => {
        begin()
        await Promise.all(answers)
      })
    }
  })
  const messageId = await makeMessage(databaseUrl)
  answers.push(app.inject(`/api/messages/${messageId}/events`))
  await identified
  await app.close()
  for (const { statusCode, headers, body } of await Promise.all(answers)) {
    t.equal(statusCode, 503)
    t.match(headers['retry-after'], /^[1-9]$/)
    t.match(JSON.parse(body), { code: 'FST_JOURNAL_CLOSED' })
  }
})

function defer () {
  let resolve = () => {}
  const promise = new Promise<void>((_resolve) => { resolve = _resolve })
  return { promise, resolve }
}
