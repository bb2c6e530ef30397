import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import t from 'tap'
import { createMessageId, resumeMessage, stopMessage, streamMessage } from '../../client/index.js'
import type { Message } from '../../plugin/index.js'
import { startApp } from '../helper/app.js'
import { ask, eventsOf, insertEvents, makeMessage, upTo } from '../helper/journal.js'
import { headers, hurried, startChat, watch } from './chat.js'
import { gate } from '../helper/gate.js'
import { startCuttingProxy } from './cutting-proxy.js'

async function twoWords (message: Message): Promise<void> {
  await message.record('answer', { type: 'answer', answer: 'two' })
  await message.record('answer', { type: 'answer', answer: 'words' })
}

const TWO_WORDS = [
  [{ type: 'answer', answer: 'two' }, '0'],
  [{ type: 'answer', answer: 'words' }, '1'],
  [{ type: 'end' }, '2']
]

t.test('an answer from its POST to its end', async (t) => {
  const { chat, asked } = await startChat(t, { produce: twoWords })
  const seen = watch()
  const end = await streamMessage({ url: chat, body: { prompt: 'hello' }, headers, ...seen })
  t.strictSame(end, { status: 'complete', lastEventId: '2', event: { type: 'end' } })
  t.strictSame(seen.events, TWO_WORDS)
  t.strictSame(seen.health, ['connecting', 'healthy'])
  t.match(asked, [{ prompt: 'hello', messageId: /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/ }])
})

t.test('how it has failed, and that it was stopped', async (t) => {
  const started = gate()
  const failing = gate()
  const { url, chat } = await startChat(t, {
    async produce ({ record, signal }) {
      await record('answer', { type: 'answer' })
      started.open()
      await new Promise((resolve, reject) => {
        signal.addEventListener('abort', resolve)
        failing.opened.then(reject)
      })
    }
  })
  const messageId = createMessageId()
  const stopped = streamMessage({ url: chat, messageId, onEvent () {}, ...hurried })
  await started.opened
  const stop = { url: `${url}/api/messages/${messageId}/stop`, headers }
  t.equal(await stopMessage(stop), undefined)
  t.equal(await stopMessage(stop), undefined, 'again: harmless')
  t.match(await stopped, { status: 'stopped', lastEventId: '1', event: { type: 'end', reason: 'stopped' } })

  const failed = streamMessage({ url: chat, onEvent () {}, ...hurried })
  failing.open()
  t.match(await failed, { status: 'failed', lastEventId: '1', event: { type: 'error', code: 'producer_failed' } })
})

t.test('a message is resumed after its cursor; at its end there is nothing more to know', async (t) => {
  const { url, chat } = await startChat(t, { produce: twoWords })
  const messageId = createMessageId()
  await streamMessage({ url: chat, messageId, onEvent () {}, headers })
  const events = `${url}/api/messages/${messageId}/events`

  const all = watch()
  t.match(await resumeMessage({ url: events, headers, ...all }), { status: 'complete', lastEventId: '2' })
  t.strictSame(all.events, TWO_WORDS)

  const rest = watch()
  t.match(await resumeMessage({ url: events, lastEventId: '0', headers, ...rest }), { status: 'complete', lastEventId: '2' })
  t.strictSame(rest.ids, ['1', '2'])

  const nothing = watch()
  t.strictSame(await resumeMessage({ url: events, lastEventId: '2', headers, ...nothing }), { status: 'unknown', lastEventId: '2', event: null })
  t.strictSame(nothing.ids, [])
})

t.test('an end that nothing follows ends the call; once a producer goes on, one that resumes behind it waits, also while servers come and go', async (t) => {
  const first = await startApp(t, { retryMs: 1 })
  const { databaseUrl } = first
  const messageId = await makeMessage(databaseUrl)
  const server = { url: first.url }
  const resume = {
    url: `http://journal.invalid/api/messages/${messageId}/events`,
    fetch: async (url: unknown, init?: RequestInit) => await fetch(String(url).replace('http://journal.invalid', server.url), init),
    ...hurried
  }
  const paused = watch()
  const pause = resumeMessage({ ...resume, ...paused })
  await first.app.journal.recordEvent(messageId, 0, 'end', { type: 'end', reason: 'approval' })
  t.match(await pause, { status: 'complete', lastEventId: '0', event: { reason: 'approval' } })

  t.strictSame(await resumeMessage({ ...resume, lastEventId: '0', onEvent () {} }), { status: 'unknown', lastEventId: '0', event: null })
  await first.app.journal.openMessage({ userId: 'ada', messageId })
  const seen = watch()
  const done = resumeMessage({ ...resume, lastEventId: '0', ...seen })
  await seen.until(() => seen.health.includes('healthy'))
  const second = await startApp(t, { databaseUrl, retryMs: 1, migrate: false })
  server.url = second.url
  await first.app.close()
  const producer = await second.app.journal.openMessage({ userId: 'ada', messageId })
  await producer.record('answer', { type: 'answer' })
  await producer.end()
  t.match(await done, { status: 'complete', lastEventId: '2' })
  t.strictSame(seen.ids, ['1', '2'])

  const all = watch()
  t.match(await resumeMessage({ ...resume, ...all }), { status: 'complete', lastEventId: '2' })
  t.strictSame(all.ids, upTo(3), 'the end in the middle is an event like any other')
})

t.test('a message that is deleted under its reader has ended', async (t) => {
  const { url, databaseUrl } = await startApp(t, { retryMs: 1, reconcileMs: 50 })
  const messageId = await makeMessage(databaseUrl)
  await insertEvents(databaseUrl, messageId)
  const seen = watch()
  const done = resumeMessage({ url: `${url}/api/messages/${messageId}/events`, ...hurried, ...seen })
  await seen.until(() => seen.events.length === 1)
  await ask(databaseUrl, 'delete from messages where message_id = $1', [messageId])
  t.match(await done, { status: 'failed', lastEventId: '0', event: { type: 'error', code: 'message_missing' } })
  t.strictSame(seen.ids, ['0', null])
})

t.test('a message that nobody has, or that is somebody else\'s: 404, and no second try', async (t) => {
  const { url } = await startApp(t)
  const seen = watch()
  await t.rejects(resumeMessage({ url: `${url}/api/messages/${randomUUID()}/events`, ...hurried, ...seen }), {
    name: 'JournalClientError', code: 'FST_JOURNAL_MESSAGE_NOT_FOUND', status: 404, retryAfterMs: null
  })
  t.strictSame(seen.health, ['connecting', 'unhealthy'])
})

for (const overload of ['status', 'in-band'] as const) {
  t.test(`a reader that finds no room (${overload}) waits for it`, async (t) => {
    const { app, url, databaseUrl } = await startApp(t, { retryMs: 1, maxConnectionsPerUser: 1, overload })
    const messageId = await makeMessage(databaseUrl)
    await insertEvents(databaseUrl, messageId)
    const events = `${url}/api/messages/${messageId}/events`
    const leaving = new AbortController()
    const first = watch()
    const left = resumeMessage({ url: events, ...hurried, ...first, signal: leaving.signal })
    await first.until(() => first.events.length === 1)

    const second = watch()
    const done = resumeMessage({ url: events, ...hurried, ...second, fetch: atOnce })
    await second.until(() => second.health.includes('unhealthy'))
    leaving.abort(new Error('enough'))
    await t.rejects(left, new Error('enough'))
    await second.until(() => second.events.length === 1)
    await app.journal.recordEvent(messageId, 1, 'end', { type: 'end' })
    await ask(databaseUrl, 'update messages set status = \'complete\' where message_id = $1', [messageId])
    t.match(await done, { status: 'complete', lastEventId: '1' })
    t.strictSame(second.ids, upTo(2))
    t.strictSame(second.health, ['connecting', 'unhealthy', 'healthy'])
  })
}

/** The server asks for a wait of four seconds, on average. */
async function atOnce (...request: Parameters<typeof fetch>): Promise<Response> {
  const { body, status, headers } = await fetch(...request)
  const kept = new Headers(headers)
  kept.delete('retry-after')
  const shorter = new TransformStream<Uint8Array, Uint8Array>({
    transform (chunk, controller) { controller.enqueue(Buffer.from(Buffer.from(chunk).toString().replace(/retry: \d+/, 'retry: 1'))) }
  })
  return new Response(body?.pipeThrough(shorter) ?? null, { status, headers: kept })
}

t.test('a fetch of the app\'s own, whose responses have no url', async (t) => {
  const { chat } = await startChat(t, { produce: twoWords })
  const seen = watch()
  const done = streamMessage({
    url: chat,
    ...hurried,
    ...seen,
    async fetch (...request) {
      const response = await fetch(...request)
      return new Response(response.body, response)
    }
  })
  t.match(await done, { status: 'complete', lastEventId: '2' })
  t.strictSame(seen.events, TWO_WORDS)
})

t.test('a server that is away for a while', async (t) => {
  const first = await startChat(t, {
    async produce ({ record, signal }) {
      await record('answer', { no: 0 })
      await once(signal, 'abort')
    }
  })
  const { databaseUrl } = first
  const proxy = await startCuttingProxy(t, first.url)
  const { port } = new URL(first.url)
  const messageId = createMessageId()
  const seen = watch()
  const done = streamMessage({ url: `${proxy.url}/api/chat`, messageId, headers, backoffMs: [5], ...seen })
  await seen.until(() => seen.events.length === 1)
  await first.app.close()
  await seen.until(() => seen.health.at(-1) === 'unhealthy')

  const second = await startApp(t, { databaseUrl, retryMs: 1, migrate: false, port: Number(port) })
  const message = await second.app.journal.openMessage({ userId: 'ada', messageId })
  await message.record('answer', { no: 1 })
  await message.end()
  t.match(await done, { status: 'complete', lastEventId: '2' })
  t.strictSame(seen.events.slice(0, 2), [[{ no: 0 }, '0'], [{ no: 1 }, '1']])
  t.equal((await eventsOf(databaseUrl, messageId)).length, 3)
})
