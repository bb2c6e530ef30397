import { getEventListeners } from 'node:events'
import t from 'tap'
import { connectEvents, resumeMessage, stopMessage, streamMessage } from '../../client/index.js'
import { eventually } from '../helper/journal.js'
import { becomePage, watchTimers } from './browser.js'
import { watch } from './chat.js'
import { broken, frame, open, silence, startServer, status, type Answer } from './server.js'

const REASON = new Error('the reader has left')
const NEVER_MS = 600_000

const MOMENTS: Record<string, { answer: Answer, options?: object, timers?: number, until: (seen: ReturnType<typeof watch>, asked: number) => boolean }> = {
  'while the answer is waited for': { answer: silence, until: (_, asked) => asked === 1 },
  'in a stream': { answer: open(frame(0, {})), until: (seen) => seen.events.length === 1 },
  'in a wait': { answer: broken(), options: { backoffMs: [NEVER_MS] }, until: (seen) => seen.health.length >= 3 },
  'in a wait that the server wants': { answer: status(503, { 'retry-after': '600' }), options: { backoffMs: [0] }, until: (_, asked) => asked === 1 },
  'in an error\'s text': { answer: (response) => { response.writeHead(400).write('{') }, until: (_, asked) => asked === 1 },
  'while the headers are waited for': { answer: silence, options: { headers: async () => await new Promise(() => {}) }, until: (seen) => seen.health.length === 1 },
  'while a login is waited for': { answer: status(401), options: { backoffMs: [0], onAuthFailure: async () => await new Promise(() => {}) }, timers: 0, until: (_, asked) => asked === 3 }
}

for (const [moment, { answer, options, timers: wanted = 1, until }] of Object.entries(MOMENTS)) {
  t.test(`an abort ${moment} rejects with its reason, and leaves nothing`, async (t) => {
    const page = becomePage(t)
    const timers = watchTimers(t, NEVER_MS / 2)
    const { url, asked, open: connections } = await startServer(t, answer)
    const leaving = new AbortController()
    const seen = watch()
    const done = streamMessage({ url, ...seen, keepaliveTimeoutMs: NEVER_MS, signal: leaving.signal, ...options })
    done.catch(() => {})
    await eventually(() => until(seen, asked.length))
    t.ok(page.listeners() > 0)
    await eventually(() => timers.size === wanted)
    const told = [seen.health.length, seen.events.length, asked.length]
    leaving.abort(REASON)
    await t.rejects(done, REASON)
    t.equal(page.listeners(), 0)
    t.strictSame(getEventListeners(leaving.signal, 'abort'), [])
    await eventually(() => connections() === 0)
    t.equal(timers.size, 0)
    t.strictSame([seen.health.length, seen.events.length, asked.length], told, 'nobody is called any more')
  })
}

t.test('an abort from within a callback: nothing comes after it', async (t) => {
  const { url, open: connections } = await startServer(t, open(frame(0, {}), frame(1, {}), 'retry: 5\n\n', frame(2, {})))
  const leaving = new AbortController()
  const seen = watch()
  await t.rejects(resumeMessage({
    url,
    ...seen,
    onEvent (payload, id) {
      seen.onEvent(payload, id)
      if (id === '1') leaving.abort(REASON)
    },
    signal: leaving.signal
  }), REASON)
  await eventually(() => connections() === 0)
  t.strictSame(seen.ids, ['0', '1'])

  const gone = new AbortController()
  await t.rejects(resumeMessage({ url, ...seen, onHealth: () => { gone.abort(REASON) }, signal: gone.signal }), REASON)
  t.strictSame(seen.ids, ['0', '1'])
})

t.test('a signal that was aborted before: nothing is asked', async (t) => {
  const { url, asked } = await startServer(t, silence)
  const signal = AbortSignal.abort(REASON)
  await t.rejects(streamMessage({ url, signal, ...watch() }), REASON)
  await t.rejects(resumeMessage({ url, signal, ...watch() }), REASON)
  await t.rejects(connectEvents({ url, signal, onEvent () {} }), REASON)
  await t.rejects(stopMessage({ url, signal }), REASON)
  t.equal(asked.length, 0)
})

t.test('a call that has ended leaves nothing either', async (t) => {
  const page = becomePage(t)
  const { url } = await startServer(t, status(202))
  const timers = watchTimers(t, NEVER_MS / 2)
  const { signal } = new AbortController()
  await stopMessage({ url, signal, keepaliveTimeoutMs: NEVER_MS })
  t.equal(page.listeners(), 0)
  t.strictSame(getEventListeners(signal, 'abort'), [])
  t.equal(timers.size, 0)
})

t.test('a connection that is lost again and again leaves nothing behind each time', async (t) => {
  const page = becomePage(t)
  const answers = Array.from({ length: 100 }, (_, id) => broken(frame(id, {})))
  const { url } = await startServer(t, ...answers, open(frame(100, {})))
  const leaving = new AbortController()
  const timers = watchTimers(t, NEVER_MS / 2)
  const seen = watch()
  const done = resumeMessage({ url, ...seen, backoffMs: [0], keepaliveTimeoutMs: NEVER_MS, signal: leaving.signal })
  await seen.until(() => seen.events.length === 10)
  const listeners = [page.listeners(), getEventListeners(leaving.signal, 'abort').length]
  await seen.until(() => seen.events.length === 101)
  t.strictSame([page.listeners(), getEventListeners(leaving.signal, 'abort').length], listeners)
  t.equal(timers.size, 1)
  leaving.abort(REASON)
  await t.rejects(done, REASON)
})
