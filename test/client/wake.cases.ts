import t from 'tap'
import { resumeMessage, streamMessage } from '../../client/index.js'
import { eventually } from '../helper/journal.js'
import { becomePage, define, watchTimers } from './browser.js'
import { watch } from './chat.js'
import { broken, frame, last, open, silence, startServer, status, stream } from './server.js'

const LONG_MS = 600_000
const patient = { backoffMs: [LONG_MS], keepaliveTimeoutMs: LONG_MS }

t.test('the network is back: what is open is dead, and what waits need not', async (t) => {
  const page = becomePage(t)
  const timers = watchTimers(t, LONG_MS / 2)
  const { url, cursors } = await startServer(t, open(frame(0, {})), broken(frame(1, {})), broken(), stream(last(2)))
  const seen = watch()
  const done = resumeMessage({ url, ...seen, ...patient, backoffMs: [0, LONG_MS] })
  await seen.until(() => seen.events.length === 1)
  page.online()
  await seen.until(() => seen.health.at(-1) === 'unhealthy')
  t.strictSame(seen.ids, ['0', '1'])
  t.equal(timers.size, 0)
  page.online() // just before the wait
  await eventually(() => cursors().length === 3)
  await seen.until(() => seen.health.length === 7)
  await eventually(() => timers.size === 1)
  page.online() // in it
  t.match(await done, { lastEventId: '2' })
  t.strictSame(cursors(), [undefined, '0', '1', '1'])
  t.equal(page.listeners(), 0)
})

t.test('the network is back while there is no answer yet', async (t) => {
  const page = becomePage(t)
  const { url, asked } = await startServer(t, silence, status(404), stream(last(0)))
  const seen = watch()
  const done = streamMessage({ url, ...seen, ...patient, backoffMs: [0] })
  await eventually(() => asked.length === 1)
  page.online()
  t.match(await done, { lastEventId: '0' })
  t.strictSame(asked.map(({ method }) => method), ['POST', 'GET', 'POST'])
})

t.test('the page is looked at again: what was silent for long is dead, what was not is left alone, what waits need not', async (t) => {
  const page = becomePage(t)
  const timers = watchTimers(t, LONG_MS / 2)
  const { url, asked } = await startServer(t, open(frame(0, {})), broken(), stream(last(1)))
  const seen = watch()
  const done = resumeMessage({ url, ...seen, ...patient, backoffMs: [0, LONG_MS] })
  await seen.until(() => seen.events.length === 1)
  page.show()
  page.hide()
  t.equal(asked.length, 1)
  t.strictSame(seen.health, ['connecting', 'healthy'])
  const now = Date.now()
  t.intercept(Date, 'now', { value: () => now + LONG_MS / 2 })
  page.hide()
  t.equal(asked.length, 1)
  page.show()
  await seen.until(() => seen.health.at(-1) === 'unhealthy')
  t.equal(asked.length, 2)
  await eventually(() => timers.size === 1)
  page.show()
  t.match(await done, { lastEventId: '1' })
  t.equal(page.listeners(), 0)
})

t.test('what the server wants to be waited for is waited for, whoever is back', async (t) => {
  const page = becomePage(t)
  const timers = watchTimers(t, LONG_MS / 2)
  const { url, asked } = await startServer(t, status(503, { 'retry-after': String(LONG_MS / 1_000) }))
  const leaving = new AbortController()
  const done = resumeMessage({ url, onEvent () {}, backoffMs: [0], signal: leaving.signal })
  await eventually(() => timers.size === 1)
  page.online()
  page.show()
  t.equal(timers.size, 1)
  t.equal(asked.length, 1)
  leaving.abort(new Error('left'))
  await t.rejects(done, new Error('left'))
})

t.test('a page\'s addresses are relative to it', async (t) => {
  const { url, asked } = await startServer(t, broken(frame(0, {})), stream(last(1)))
  becomePage(t, { baseURI: `${url}/chats/7` })
  await streamMessage({ url: 'ask', messageId: 'chosen', ...watch(), backoffMs: [0] })
  await resumeMessage({ url: '/api/events', ...watch(), backoffMs: [0] })
  t.strictSame(asked.map(({ url }) => url), ['/chats/ask', '/chats/messages/chosen/events', '/api/events'])

  define(t, 'document', undefined)
  define(t, 'location', { href: `${url}/scripts/worker.js` })
  await resumeMessage({ url: 'events', ...watch(), backoffMs: [0] })
  t.equal(asked.at(-1)?.url, '/scripts/events', 'or to the worker')
})
