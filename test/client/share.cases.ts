import t, { type Test } from 'tap'
import { shareEvents, type PipeEnd, type SharedEventsOptions } from '../../client/index.js'
import { eventually } from '../helper/journal.js'
import { becomePage, define, haveLocks, watchTimers } from './browser.js'
import { createReader, isHealthy, startPipe, type Pipe, type Reader } from './pipe.js'
import { open, startServer, status } from './server.js'

interface Tab extends Reader {
  done: Promise<PipeEnd>
  /** Closes the tab. */
  close: () => Promise<void>
}

const NEVER_MS = 60 * 60_000
const CLOSED = new Error('the tab was closed')

/** A tab of the browser that this process is; closed after the test. */
function openTab (t: Test, { pipe, user }: Pick<Pipe, 'pipe' | 'user'>, options: Partial<SharedEventsOptions> = {}): Tab {
  const reader = createReader()
  const closing = new AbortController()
  const done = shareEvents({ ...pipe, name: user, ...reader.listeners, signal: closing.signal, ...options })
  done.catch(() => {}) // some wait for it, and some do not
  async function close (): Promise<void> {
    closing.abort(CLOSED)
    await done.catch((error: unknown) => { if (error !== CLOSED) throw error })
  }
  t.teardown(() => { closing.abort(CLOSED) })
  return Object.assign(reader, { done, close })
}

const upTo = (count: number, from = 0): number[] => Array.from({ length: count }, (_, n) => from + n)
const has = (count: number) => ({ events }: Reader): boolean => events.length >= count

t.test('two tabs share one connection; both are told everything, also how it is doing', async (t) => {
  haveLocks(t)
  const pipe = await startPipe(t)
  const one = openTab(t, pipe)
  await one.until(isHealthy)
  const two = openTab(t, pipe)
  await two.until(isHealthy)
  const ids = await pipe.publish(...upTo(5))
  await Promise.all([one.until(has(5)), two.until(has(5))])
  for (const tab of [one, two]) {
    t.strictSame(tab.ids, ids)
    t.strictSame(tab.health, ['connecting', 'healthy'])
  }
  t.strictSame(one.events, two.events)
  t.equal(pipe.cursors.length, 1)
  await one.close()
  await two.close()
  await eventually(() => pipe.app.journal.stats().viewers === 0)
})

t.test('when the leader closes, the next tab goes on, and nothing is lost or doubled', async (t) => {
  haveLocks(t)
  const pipe = await startPipe(t)
  const tabs = [openTab(t, pipe)]
  await tabs[0]?.until(isHealthy)
  for (let more = 0; more < 3; more++) tabs.push(openTab(t, pipe))
  await Promise.all(tabs.map(async (tab) => await tab.until(isHealthy)))
  let published = 0
  const stopping = new AbortController()
  const publishing = (async () => {
    while (!stopping.signal.aborted) await pipe.publish(published++)
  })()
  const last = tabs.at(-1)
  for (const tab of tabs) {
    if (tab === last) break
    const seen = last?.events.length ?? 0
    await last?.until(has(seen + 20))
    await tab.close()
  }
  stopping.abort()
  await publishing
  await last?.until(has(published))
  for (const tab of tabs) t.strictSame(tab.numbers, upTo(tab.events.length))
  t.equal(last?.events.length, published)
  t.strictSame(pipe.cursors.length, 4)
})

t.test('a tab that opens with an older cursor gets what it has missed, and the others get nothing twice', async (t) => {
  haveLocks(t)
  const pipe = await startPipe(t)
  const ids = await pipe.publish(...upTo(6))
  const one = openTab(t, pipe, { cursor: ids[3] ?? '' })
  await one.until(has(2))
  const two = openTab(t, pipe, { cursor: ids[0] ?? '' })
  await two.until(has(5))
  await pipe.publish(6)
  await Promise.all([one.until(has(3)), two.until(has(6))])
  t.strictSame(one.numbers, [4, 5, 6])
  t.strictSame(two.numbers, upTo(6, 1))
  await two.close()
  await pipe.publish(7)
  await one.until(has(4))
  t.strictSame(one.numbers, [4, 5, 6, 7], 'the one that led before leads again')
  t.strictSame(pipe.cursors, [ids[3], ids[0], (one.ids[2])])
})

t.test('a tab without a cursor begins where the leader is', async (t) => {
  haveLocks(t)
  const pipe = await startPipe(t)
  const ids = await pipe.publish(0, 1)
  const one = openTab(t, pipe, { cursor: ids[0] ?? '' })
  await one.until(has(1))
  const two = openTab(t, pipe)
  await two.until(isHealthy)
  await one.close()
  await pipe.publish(2)
  await two.until(has(1))
  t.strictSame(two.numbers, [2])
  t.strictSame(pipe.cursors, [ids[0], ids[1]])
})

t.test('a tab with a cursor gets what it has missed from a leader that has none', async (t) => {
  haveLocks(t)
  const pipe = await startPipe(t)
  const ids = await pipe.publish(0, 1)
  const one = openTab(t, pipe)
  await one.until(isHealthy)
  const two = openTab(t, pipe, { cursor: ids[0] ?? '' })
  await two.until(has(1))
  await pipe.publish(2)
  await Promise.all([one.until(({ numbers }) => numbers.at(-1) === 2), two.until(has(2))])
  t.strictSame(two.numbers, [1, 2])
  t.strictSame(pipe.cursors, [undefined, ids[0]])
})

t.test('a truncated backlog is told to all tabs but those that have what was lost', async (t) => {
  haveLocks(t)
  const pipe = await startPipe(t)
  const ids = await pipe.publish(...upTo(6))
  const [first = '', second = '', , fourth = '', fifth = ''] = ids
  const one = openTab(t, pipe, { cursor: fifth })
  await one.until(has(1))
  await pipe.app.redis.xtrim(`user:${pipe.user}:stream`, 'MINID', fourth)
  const two = openTab(t, pipe, { cursor: second })
  await two.until(has(3))
  t.strictSame(two.truncations, [fourth])
  t.strictSame(one.truncations, [])
  await pipe.publish(6)
  await Promise.all([one.until(has(2)), two.until(has(4))])
  t.strictSame(one.numbers, [5, 6])
  t.strictSame(two.numbers, [3, 4, 5, 6])

  await pipe.app.redis.del(`user:${pipe.user}:stream`)
  const three = openTab(t, pipe, { cursor: first })
  await Promise.all([one, two, three].map(async (tab) => await tab.until(({ truncations }) => truncations.at(-1) === null)))
  await pipe.publish(7)
  await Promise.all([one.until(has(3)), two.until(has(5)), three.until(has(1))])
  t.strictSame([one, two, three].map(({ numbers }) => numbers.at(-1)), [7, 7, 7])
})

t.test('a Redis that has lost what all tabs have: all are told, and go on behind it', async (t) => {
  haveLocks(t)
  const event = (id: string): string => `data: {"type":"x","payload":{}}\nid: ${id}\n\n`
  let lose = (): void => {}
  const { url, cursors } = await startServer(t,
    async (response, request) => {
      await open(event('9-0'))(response, request)
      lose = () => { response.destroy() }
    },
    open('data: {"type":"backlog.truncated","payload":{"oldest_retained_id":"1-0"}}\n\n', event('2-0')))
  const pipe = { pipe: { url, backoffMs: [0] }, user: url }
  const tabs = [openTab(t, pipe, { cursor: '8-0' }), openTab(t, pipe, { cursor: '8-0' })]
  await Promise.all(tabs.map(async (tab) => await tab.until(has(1))))
  lose()
  await Promise.all(tabs.map(async (tab) => await tab.until(has(2))))
  for (const { ids, truncations } of tabs) {
    t.strictSame(ids, ['9-0', '2-0'])
    t.strictSame(truncations, ['1-0'])
  }
  t.strictSame(cursors(), ['8-0', '9-0'])
})

t.test('a leader that hangs loses its lock to a tab that is looked at', async (t) => {
  const locks = haveLocks(t)
  const page = becomePage(t)
  const pipe = await startPipe(t)
  let release = (): void => {}
  const hanging = locks.request(`fastify-message-journal ${pipe.user}`, {}, async () => await new Promise<void>((resolve) => { release = resolve }))
  hanging.catch(() => {})
  page.hide()
  const hidden = openTab(t, pipe, { leaderTimeoutMs: 1 })
  t.strictSame(hidden.health, ['connecting'])
  page.show()
  await t.rejects(hanging, { name: 'AbortError' })
  await hidden.until(isHealthy)
  await pipe.publish(0)
  await hidden.until(has(1))
  release()
})

t.test('a leader that answers keeps its lock', async (t) => {
  haveLocks(t)
  const page = becomePage(t)
  const pipe = await startPipe(t)
  const doubts = watchTimers(t, NEVER_MS * 0.9)
  const one = openTab(t, pipe, { leaderTimeoutMs: NEVER_MS })
  await one.until(isHealthy)
  const two = openTab(t, pipe, { leaderTimeoutMs: NEVER_MS })
  await two.until(isHealthy)
  await eventually(() => doubts.size === 0)
  page.show()
  t.equal(doubts.size, 1, 'the one that does not lead')
  await eventually(() => doubts.size === 0)
  t.equal(pipe.cursors.length, 1)
  await one.close()
  await two.close()
  t.equal(page.listeners(), 0)
})

t.test('what a listener throws ends its own tab\'s call, whether it leads or not', async (t) => {
  haveLocks(t)
  const pipe = await startPipe(t)
  const oops = new DOMException('the page cannot show this', 'AbortError')
  const one = openTab(t, pipe)
  await one.until(isHealthy)
  const follower = openTab(t, pipe, { onEvent () { throw oops } })
  const two = openTab(t, pipe)
  await two.until(isHealthy)
  await pipe.publish(0)
  await t.rejects(follower.done, oops)
  await two.until(has(1))
  await one.close()
  const leader = openTab(t, pipe, { onEvent () { throw oops }, cursor: two.ids[0] ?? '' })
  await leader.until(isHealthy)
  await two.close()
  await pipe.publish(1)
  await t.rejects(leader.done, oops)
  t.strictSame(two.numbers, [0])
})

t.test('a leader that is turned away for good leaves the lead to the next tab, and that one too', async (t) => {
  haveLocks(t)
  const { url, asked } = await startServer(t, status(403))
  const pipe = { pipe: { url, backoffMs: [0] }, user: url }
  const tabs = [openTab(t, pipe), openTab(t, pipe)]
  for (const { done } of tabs) await t.rejects(done, { status: 403, code: 'FST_JOURNAL_CLIENT_REFUSED' })
  t.equal(asked.length, 2)
  for (const { health } of tabs) t.equal(health.at(-1), 'unhealthy')
})

t.test('a pipe that is turned off ends the call in every tab', async (t) => {
  haveLocks(t)
  const pipe = await startPipe(t, { notifications: false })
  const tabs = [openTab(t, pipe), openTab(t, pipe)]
  for (const { done } of tabs) t.strictSame(await done, { status: 'disabled' })
})

for (const missing of ['navigator', 'BroadcastChannel']) {
  t.test(`without ${missing}, each tab has a connection`, async (t) => {
    haveLocks(t)
    define(t, missing, undefined)
    const pipe = await startPipe(t)
    const one = openTab(t, pipe)
    const two = openTab(t, pipe)
    await Promise.all([one.until(isHealthy), two.until(isHealthy)])
    await pipe.publish(0)
    await Promise.all([one.until(has(1)), two.until(has(1))])
    t.equal(pipe.cursors.length, 2)
  })
}

t.test('an aborted call leaves nothing: no lock, no channel, no listener, and nobody is called', async (t) => {
  const locks = haveLocks(t)
  const page = becomePage(t)
  const { url, open: connections } = await startServer(t, open('data: {"type":"x"}\nid: 1-0\n\n'))
  const pipe = { pipe: { url, backoffMs: [0] }, user: url }
  const leader = openTab(t, pipe)
  await leader.until(has(1))
  const follower = openTab(t, pipe)
  await follower.until(isHealthy)
  const told = [leader.health.length, follower.health.length]
  const channel = new BroadcastChannel(`fastify-message-journal ${url}`)
  channel.postMessage({ after: '1-0', entry: [{ type: 'x' }, '2-0'], health: 'unhealthy' })
  await Promise.all([follower.close(), leader.close()])
  channel.close()
  t.strictSame([leader.health.length, follower.health.length], told)
  t.strictSame([leader.ids, follower.ids], [['1-0'], []])
  t.strictSame(await locks.query(), { held: [], pending: [] })
  t.equal(page.listeners(), 0)
  await eventually(() => connections() === 0)
  await t.rejects(shareEvents({ url, name: 'x', signal: AbortSignal.abort(CLOSED), onEvent () {} }), CLOSED)
})
