import Fastify from 'fastify'
import fc from 'fast-check'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { Feed } from '../../plugin/read/feed.js'
import { createRateLimitedLogger } from '../../plugin/util/rate-limited-logger.js'
import type { LogEntry, EventLog } from '../../plugin/read/event-log.js'
import { createReadQueue } from '../../plugin/read/read-queue.js'
import { Tail, type Sink } from '../../plugin/read/tail.js'
import { alwaysReady } from '../helper/feeds.js'

/** What can happen between the journal, the topic, a socket and its reader. */
type Step =
  /** An event is committed, `skip` numbers after the last, and announced so many times: 0 is a lost publish. */
  | { kind: 'commit', skip: number, times: number, terminal: boolean }
  /** An announcement comes again, late, or early and out of order. */
  | { kind: 'repeat', back: number }
  /** An envelope of a program that does not say that it has committed. */
  | { kind: 'hint' }
  /** An announcement of a number that no row has or will have. */
  | { kind: 'bogus', ahead: number }
  | { kind: 'uncommitted' }
  /** Redis has reconnected. */
  | { kind: 'doubt' }
  | { kind: 'block' | 'unblock', reader: number }
  | { kind: 'rejoin', reader: number }
  | { kind: 'turn' }

const READERS = 3
const BOGUS = 1_000_000

const reader = fc.nat(READERS - 1)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('commit' as const), skip: fc.constantFrom(1, 1, 1, 1, 1, 2, 5), times: fc.constantFrom(1, 1, 1, 1, 0, 2), terminal: fc.constantFrom(false, false, false, false, true) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('repeat' as const), back: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('bogus' as const), ahead: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('uncommitted' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('hint' as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('doubt' as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('block' as const, 'unblock' as const), reader }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('rejoin' as const), reader }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('turn' as const) }) }
)

/** A journal in memory: pages of three rows, read in as many turns of the event loop as `delays` says. `leased`: no type ends it. */
function createMemoryLog (delays: number[], leased: boolean) {
  const rows: Array<{ position: number, terminal: boolean }> = []
  const state = { ended: false }
  let reads = 0
  const log: EventLog<number> = {
    compare: (a, b) => a - b,
    isNext: (cursor, position) => position === cursor + 1,
    decode: () => null,
    async read (_key, cursor) {
      const [before = 0, after = 0] = [delays[reads++ % delays.length], delays[reads++ % delays.length]]
      for (let i = 0; i < before; i++) await turn()
      const past = rows.filter(({ position }) => position > cursor)
      const page = past.slice(0, 3)
      const ends = state.ended ? 'complete' : null
      for (let i = 0; i < after; i++) await turn()
      const last = page.at(-1)
      return { frames: page.map(({ position }) => frame(position)), rows: page.length, last: last?.position ?? cursor, terminal: last?.terminal === true ? 'failed' : null, ends, typeEnds: !leased && ends === null, complete: past.length < 3 }
    }
  }
  return { rows, state, log }
}

function frame (position: number): Buffer {
  return Buffer.from(`${position} `)
}

/** A client that reconnects with its cursor whenever the server ends its response. */
function createReader (open: (cursor: number, sink: Sink) => Tail<number>) {
  let text = ''
  let blocked = false
  let full = false // the tail has been told, and must wait for resume()
  let tail: Tail<number>
  const received = () => text.split(/\s+/).filter((word) => /^\d+$/.test(word)).map(Number)
  let ends = 0
  let isOver = false
  const errors: string[] = []

  function join (): void {
    let over = false
    isOver = full = false
    const sink: Sink = {
      write (frames) {
        if (full) errors.push('written while blocked')
        if (over) errors.push('written after the end')
        text += frames.join('')
        full = blocked
        return !blocked
      },
      end () {
        if (over) errors.push('ended twice')
        over = isOver = true
        ends++
      }
    }
    tail = open(received().at(-1) ?? -1, sink)
    tail.resume()
  }
  join()
  return {
    errors,
    received,
    get ends () { return ends },
    get isOver () { return isOver },
    get text () { return text },
    /** How the server said that the message has ended, the last time. */
    get how () { return /: end (\w+)\n\n$/.exec(text)?.[1] },
    block () { blocked = true },
    unblock () {
      blocked = full = false
      tail.resume()
    },
    rejoin () {
      tail.close()
      join()
    }
  }
}

t.test('whatever is lost, repeated, late, blocked or cut, every reader gets every row once and in order, and then the end', async () => {
  const logger = createRateLimitedLogger(Fastify({ logger: false }).log)
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), fc.array(fc.nat(3), { minLength: 1, maxLength: 10 }), fc.boolean(), fc.boolean(), async (steps, delays, leased, isHeard) => {
    const { rows, state, log } = createMemoryLog(delays, leased)
    const feed = new Feed({ ...alwaysReady, start: -1, log, reads: createReadQueue(2, logger) }, 'topic')
    const readers = Array.from({ length: READERS }, () => createReader((cursor, sink) => new Tail(feed, { start: cursor }, sink)))
    const announced: Array<LogEntry<number>> = []
    const announce = (entry: LogEntry<number>): void => { feed.announce({ kind: 'entry', entry }) }
    const commit = (skip: number, terminal: boolean, ends: string | null = null): LogEntry<number> => {
      const position = (rows.at(-1)?.position ?? -1) + skip
      rows.push({ position, terminal })
      return { position, frame: frame(position), terminal: terminal ? 'failed' : null, ends }
    }
    for (const step of steps) {
      switch (step.kind) {
        case 'commit': {
          const entry = commit(step.skip, step.terminal)
          for (let i = 0; i < step.times; i++) announce(entry)
          announced.push(entry)
          break
        }
        case 'repeat': {
          const entry = announced.at(-1 - step.back)
          if (entry !== undefined) announce(entry)
          break
        }
        case 'bogus': announce({ position: BOGUS + step.ahead, frame: Buffer.from('bogus '), terminal: 'failed', ends: 'stopped' }); break
        case 'uncommitted': feed.announce({ kind: 'uncommitted', frame: Buffer.from('? ') }); break
        case 'hint': feed.announce({ kind: 'hint' }); break
        case 'doubt': feed.invalidate(); break
        case 'block': readers[step.reader]?.block(); break
        case 'unblock': readers[step.reader]?.unblock(); break
        case 'rejoin': readers[step.reader]?.rejoin(); break
        case 'turn': await turn()
      }
    }
    if (leased) for (const reader of readers) if (reader.ends > 0) throw new Error('a type has ended a message with a lease')
    state.ended = leased
    const end = commit(1, true, leased ? 'complete' : null)
    // Which reveals what was lost before it; or the tick does
    if (isHeard) announce(end)
    const expected = rows.map(({ position }) => position)
    for (const reader of readers) {
      reader.unblock()
      // A reader that a terminal event in the middle has ended comes back for what follows
      for (let turns = 0; reader.received().length < expected.length || reader.how === undefined; turns++) {
        if (reader.isOver) reader.rejoin()
        if (turns % 20 === 0) feed.advance(end.position)
        if (turns > 1_000) throw new Error(`stuck at ${reader.received().join()} of ${expected.join()}`)
        await turn()
      }
      const received = reader.received()
      if (received.join() !== expected.join()) throw new Error(`received ${received.join()} of ${expected.join()}`)
      if (reader.how !== (leased ? 'complete' : 'failed')) throw new Error(`ended as ${reader.how}: ${JSON.stringify(reader.text)}`)
      if (reader.errors.length > 0) throw new Error(reader.errors.join())
    }
  }), { numRuns: 2_000 })
})
