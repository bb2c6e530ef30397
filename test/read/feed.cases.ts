import Fastify from 'fastify'
import t from 'tap'
import { Feed } from '../../plugin/read/feed.js'
import { createRateLimitedLogger } from '../../plugin/util/rate-limited-logger.js'
import type { EventLog } from '../../plugin/read/event-log.js'
import { createReadQueue } from '../../plugin/read/read-queue.js'
import { Tail } from '../../plugin/read/tail.js'
import { alwaysReady } from '../helper/feeds.js'

/** A feed over a log in memory, and what its tails have written. */
function createTopic () {
  const rows: number[] = []
  const cursors: number[] = []
  const log: EventLog<number> = {
    compare: (a, b) => a - b,
    isNext: (cursor, position) => position === cursor + 1,
    decode: () => null,
    async read (_key, cursor) {
      cursors.push(cursor)
      const past = rows.filter((position) => position > cursor)
      return { frames: past.map((position) => Buffer.from(`${position} `)), rows: past.length, last: past.at(-1) ?? cursor, terminal: null, ends: null, typeEnds: false, complete: true }
    }
  }
  const feed = new Feed({ ...alwaysReady, start: -1, log, reads: createReadQueue(8, createRateLimitedLogger(Fastify().log)) }, 'topic')
  return {
    feed,
    /** The cursors that the log was read from. */
    cursors,
    commit (position: number, bytes = 0) {
      rows.push(position)
      feed.announce({ kind: 'entry', entry: { position, frame: Buffer.from(`${position}${' '.repeat(bytes)} `), terminal: null, ends: null } })
    },
    show (text: string) { feed.announce({ kind: 'uncommitted', frame: Buffer.from(text) }) },
    /** A tail that is live at the end of the log. */
    async join () {
      const chunks: Array<readonly Buffer[]> = []
      const state = { blocked: false }
      const tail = new Tail(feed, { start: -1 }, { write: (frames) => { chunks.push(frames); return !state.blocked }, end () {} })
      tail.resume()
      while (!tail.isCurrent()) await turn()
      chunks.length = 0
      return { tail, chunks, state, text: () => Buffer.concat(chunks.flat()).toString().replaceAll(/ +/g, ' ') }
    }
  }
}

async function turn (): Promise<void> {
  await new Promise((resolve) => { setImmediate(resolve) })
}

function numbers (from: number, to: number): string {
  return Array.from({ length: to - from }, (_, i) => `${from + i} `).join('')
}

t.test('what is announced in one turn is one write to each viewer, the same bytes in memory for all, and no read', async (t) => {
  const topic = createTopic()
  const viewers = [await topic.join(), await topic.join(), await topic.join()]
  topic.cursors.length = 0
  for (let i = 0; i < 10; i++) topic.commit(i)
  await turn()
  for (const { chunks, text } of viewers) {
    t.equal(text(), numbers(0, 10))
    t.equal(chunks.length, 1)
    t.equal(chunks[0], viewers[0]?.chunks[0])
  }
  t.same(topic.cursors, [])
})

t.test('a viewer that looks away for a moment catches up without a read', async (t) => {
  const topic = createTopic()
  const { tail, state, text } = await topic.join()
  topic.cursors.length = 0
  state.blocked = true
  for (let i = 0; i < 200; i++) {
    topic.commit(i)
    if (i % 10 === 0) await turn()
  }
  state.blocked = false
  tail.resume()
  t.equal(text(), numbers(0, 200))
  t.same(topic.cursors, [])
})

t.test('what is kept for viewers that look away is bounded in number and in bytes; the rest is read', async (t) => {
  for (const [count, bytes] of [[300, 0], [50, 10_000], [3, 100_000]] as const) {
    const topic = createTopic()
    const { tail, state, text } = await topic.join()
    topic.cursors.length = 0
    state.blocked = true
    topic.commit(0)
    await turn()
    for (let i = 1; i < count; i++) topic.commit(i, bytes)
    await turn()
    state.blocked = false
    tail.resume()
    while (!tail.isCurrent()) await turn()
    t.equal(text(), numbers(0, count))
    t.same(topic.cursors, [0], `${count} events of ${bytes} bytes`)
  }
})

t.test('a single event larger than what is kept is delivered without a read', async (t) => {
  const topic = createTopic()
  const { text } = await topic.join()
  topic.cursors.length = 0
  topic.commit(0, 1_000_000)
  await turn()
  t.equal(text(), '0 ')
  t.same(topic.cursors, [])
})

t.test('what is not in the log stands between what came before and after it', async (t) => {
  const topic = createTopic()
  const { text } = await topic.join()
  topic.show('a ')
  topic.commit(0)
  topic.show('b ')
  topic.show('c ')
  topic.commit(1)
  await turn()
  t.equal(text(), 'a 0 b c 1 ')
})

t.test('a blocked viewer keeps a few of the events that are not in the log, and drops the others', async (t) => {
  const topic = createTopic()
  const { tail, state, text } = await topic.join()
  state.blocked = true
  topic.commit(0)
  await turn()
  for (let i = 0; i < 100; i++) topic.show('? ')
  state.blocked = false
  tail.resume()
  t.equal(text(), `0 ${'? '.repeat(16)}`)
  state.blocked = true
  topic.show('? ')
  topic.show('? ')
  t.equal(text(), `0 ${'? '.repeat(17)}`, 'and stops where its socket is full')
})

t.test('viewers at one cursor share a read, and the next one is a read of its own', async (t) => {
  const topic = createTopic()
  const [one, other] = await Promise.all([topic.feed.read(-1), topic.feed.read(-1), topic.feed.read(5)])
  t.equal(one, other)
  t.same(topic.cursors, [-1, 5])
  t.not(await topic.feed.read(-1), one)
})

t.test('a reader that leaves is not written to any more, and the feed counts who is there', async (t) => {
  const topic = createTopic()
  const [leaving, staying] = [await topic.join(), await topic.join()]
  t.equal(topic.feed.size, 2)
  topic.commit(0)
  leaving.tail.close()
  topic.show('? ')
  await turn()
  t.equal(leaving.text(), '')
  t.equal(staying.text(), '0 ? ')
  t.equal(topic.feed.size, 1)
  t.equal(leaving.tail.isCurrent(), true, 'nobody waits for it')
  t.equal(leaving.tail.cursor, -1)
})

t.test('a number that is not in the log costs one read, and those who wait are not kept busy', async (t) => {
  const topic = createTopic()
  const { text } = await topic.join()
  topic.commit(0)
  await turn()
  topic.cursors.length = 0
  topic.feed.announce({ kind: 'entry', entry: { position: 1_000, frame: Buffer.from('nowhere '), terminal: null, ends: null } })
  for (let i = 0; i < 20; i++) await turn()
  t.same(topic.cursors, [0])
  topic.commit(1)
  for (let i = 0; i < 20; i++) await turn()
  t.equal(text(), '0 1 ')
})

t.test('a doubt makes every viewer look at the log once', async (t) => {
  const topic = createTopic()
  await Promise.all([topic.join(), topic.join()])
  topic.commit(0)
  await turn()
  topic.cursors.length = 0
  topic.feed.invalidate()
  topic.feed.invalidate()
  await turn()
  t.same(topic.cursors, [0])
})
