import t from 'tap'
import { connectEvents } from '../../client/index.js'
import { cutsOf, startCuttingProxy } from './cutting-proxy.js'
import { createReader, isHealthy, startPipe } from './pipe.js'
import { broken, open, startServer, stream } from './server.js'

const upTo = (count: number, from = 0): number[] => Array.from({ length: count }, (_, n) => from + n)
const LEFT = new Error('left')

t.test('without a cursor, what comes; with one, what came since', async (t) => {
  const { pipe, publish, user } = await startPipe(t)
  await publish(0)
  const leaving = new AbortController()
  const first = createReader()
  const left = connectEvents({ ...pipe, ...first.listeners, signal: leaving.signal })
  await first.until(isHealthy)
  const ids = await publish(1, 2)
  await first.until(({ events }) => events.length === 2)
  t.match(first.events, [{ type: 'counted', user_id: user, scope: {}, payload: { n: 1 }, id: ids[0] ?? '' }, { payload: { n: 2 }, id: ids[1] ?? '' }])
  t.strictSame(first.ids, ids)
  leaving.abort(LEFT)
  await t.rejects(left, LEFT)

  const missed = await publish(3, 4)
  const second = createReader()
  const gone = new AbortController()
  const done = connectEvents({ ...pipe, cursor: ids[1] ?? '', ...second.listeners, signal: gone.signal })
  await second.until(({ events }) => events.length === 2)
  t.strictSame(second.ids, missed)
  gone.abort(LEFT)
  await t.rejects(done, LEFT)
})

t.test('a long backlog comes in parts, and nothing is lost or doubled between them', async (t) => {
  const { pipe, publish, cursors } = await startPipe(t, { notifications: { replayMaxPerRequest: 4 } })
  const [first] = await publish(...upTo(19))
  const reader = createReader()
  const leaving = new AbortController()
  const done = connectEvents({ ...pipe, cursor: first ?? '', ...reader.listeners, signal: leaving.signal })
  await reader.until(({ events }) => events.length === 18)
  await publish(19)
  await reader.until(({ events }) => events.length === 19)
  t.strictSame(reader.numbers, upTo(19, 1))
  t.ok(cursors.length > 3, `${cursors.length} connections`)
  leaving.abort(LEFT)
  await t.rejects(done, LEFT)
})

t.test('connections that are cut in whatever place lose and double nothing', async (t) => {
  const { pipe, publish, url } = await startPipe(t)
  const proxy = await startCuttingProxy(t, url)
  const ids = await publish(0, 1, 2)

  async function read (...cuts: number[]): Promise<string> {
    const reader = createReader()
    const leaving = new AbortController()
    await proxy.cutAfter(...cuts)
    const done = connectEvents({ ...pipe, url: `${proxy.url}/api/events`, cursor: ids[0] ?? '', ...reader.listeners, signal: leaving.signal })
    await reader.until(({ events, health }) => events.length === 2 && health.at(-1) === 'healthy')
    leaving.abort(LEFT)
    await done.catch(() => {})
    return JSON.stringify(reader.ids)
  }

  const right = JSON.stringify(ids.slice(1))
  t.equal(await read(), right)
  const cuts = cutsOf(proxy.passed).filter((cut) => cut % 4 === 0) // a message is cut at each
  t.ok(cuts.length > 50, `${cuts.length} cuts`)
  const wrong: Array<[number, string]> = []
  for (const cut of cuts) {
    const got = await read(cut)
    if (got !== right) wrong.push([cut, got])
  }
  t.strictSame(wrong, [])
})

t.test('a cursor that is too old, or none of Redis\': the reader is told, and gets what is kept', async (t) => {
  const { app, pipe, publish, user } = await startPipe(t)
  const ids = await publish(...upTo(6))
  await app.redis.xtrim(`user:${user}:stream`, 'MINID', ids[3] ?? '')
  for (const cursor of [ids[0] ?? '', 'mine']) {
    const reader = createReader()
    const leaving = new AbortController()
    const done = connectEvents({ ...pipe, cursor, ...reader.listeners, signal: leaving.signal })
    await reader.until(({ events }) => events.length === 3)
    t.strictSame(reader.truncations, [ids[3]])
    t.strictSame(reader.ids, ids.slice(3))
    leaving.abort(LEFT)
    await t.rejects(done, LEFT)
  }
})

t.test('a Redis that has lost what the reader has: it is told, and goes on behind it', async (t) => {
  const { pipe, publish } = await startPipe(t)
  const [kept] = await publish(0)
  const reader = createReader()
  const leaving = new AbortController()
  const done = connectEvents({ ...pipe, cursor: '99999999999999-0', ...reader.listeners, signal: leaving.signal })
  await reader.until(({ truncations }) => truncations.length === 1)
  const ids = await publish(1)
  await reader.until(({ events }) => events.length === 1)
  t.strictSame(reader.truncations, [kept])
  t.strictSame(reader.ids, ids)
  leaving.abort(LEFT)
  await t.rejects(done, LEFT)
})

t.test('a connection that is cut behind the notice asks from the beginning, and does not say so twice', async (t) => {
  const notice = 'data: {"type":"backlog.truncated","payload":{"oldest_retained_id":null}}\n\n'
  const event = (id: string): string => `data: {"type":"x","payload":{}}\nid: ${id}\n\n`
  const { url, cursors } = await startServer(t, broken(event('9-0'), notice), broken(notice, event('1-0')), broken('data: {"type":"backlog.truncated"}\n\n'), open(event('2-0')))
  const reader = createReader()
  const leaving = new AbortController()
  const done = connectEvents({ url, backoffMs: [0], ...reader.listeners, signal: leaving.signal })
  await reader.until(({ events }) => events.length === 3)
  t.strictSame(reader.ids, ['9-0', '1-0', '2-0'])
  t.strictSame(cursors(), [undefined, '0-0', '1-0', '0-0'])
  t.strictSame(reader.truncations, [null, null])
  leaving.abort(LEFT)
  await t.rejects(done, LEFT)
})

t.test('stream ids are compared as numbers', async (t) => {
  const frame = (id: string): string => `data: {"id":"${id}"}\nid: ${id}\n\n`
  const { url } = await startServer(t, broken(...['999-9', '999-10', '1000-0', '999-11', '1000-0'].map(frame)), open(...['999-10', '1000-0', '1000-1'].map(frame)))
  const reader = createReader()
  const leaving = new AbortController()
  const done = connectEvents({ url, backoffMs: [0], ...reader.listeners, signal: leaving.signal })
  await reader.until(({ ids }) => ids.at(-1) === '1000-1')
  t.strictSame(reader.ids, ['999-9', '999-10', '1000-0', '1000-1'])
  leaving.abort(LEFT)
  await t.rejects(done, LEFT)
})

t.test('a pipe that is turned off is told from one that has ended', async (t) => {
  const { pipe } = await startPipe(t, { notifications: false })
  const reader = createReader()
  t.strictSame(await connectEvents({ ...pipe, ...reader.listeners }), { status: 'disabled' })
  t.strictSame(reader.events, [])

  const { url, asked } = await startServer(t, stream(': other\n\n'), stream(': push_disabled\n\n'))
  t.strictSame(await connectEvents({ url, backoffMs: [0], onEvent () {} }), { status: 'disabled' })
  t.equal(asked.length, 2)
})

t.test('nobody\'s notifications', async (t) => {
  const { pipe } = await startPipe(t)
  await t.rejects(connectEvents({ ...pipe, headers: {}, onEvent () {} }), { status: 401, code: 'FST_JOURNAL_UNAUTHENTICATED' })
})
