import Fastify from 'fastify'
import { test, type Test } from 'tap'
import { createRateLimitedLogger } from '../../plugin/util/rate-limited-logger.js'
import { takeClock } from '../helper/writing.js'

function start (t: Test) {
  const lines: unknown[] = []
  const { log } = Fastify({ logger: { base: null, timestamp: false, stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } } })
  return { lines, log: createRateLimitedLogger(log), elapse: takeClock(t) }
}

test('the first line of a kind is written at once, with its level and fields', (t) => {
  const { log, lines } = start(t)

  log.warn('a', { n: 1 }, 'one')
  log.error('b', { n: 2, err: new TypeError('no') }, 'two')

  t.strictSame(lines[0], { level: 40, n: 1, msg: 'one' })
  t.match(lines[1], { level: 50, n: 2, err: { type: 'TypeError', message: 'no', stack: String }, msg: 'two' })
  t.equal(lines.length, 2)
  t.end()
})

test('at most one line a second is written of a kind, and the next one says how many were not', (t) => {
  const { log, lines, elapse } = start(t)

  for (let n = 0; n < 1_000; n++) log.error('a', { n }, 'dead')
  elapse(990)
  log.error('a', { n: 1_000 }, 'dead')
  t.strictSame(lines, [{ level: 50, n: 0, msg: 'dead' }])
  elapse(10)
  log.error('a', { n: 1_001 }, 'dead')
  t.strictSame(lines.slice(1), [{ level: 50, n: 1_001, suppressed: 1_000, msg: 'dead' }])
  elapse(1_000)
  log.error('a', { n: 1_002 }, 'dead')
  t.strictSame(lines.slice(2), [{ level: 50, n: 1_002, msg: 'dead' }], 'counted once')
  t.end()
})

test('kinds are counted apart, and so are two logs', (t) => {
  const { log, lines } = start(t)
  const { log: other, lines: otherLines } = start(t)

  for (const kind of ['a', 'b', 'a', 'b']) log.warn(kind, { kind }, 'dead')
  other.warn('a', { kind: 'a' }, 'dead')

  t.strictSame(lines, [{ level: 40, kind: 'a', msg: 'dead' }, { level: 40, kind: 'b', msg: 'dead' }])
  t.equal(otherLines.length, 1)
  t.end()
})

test('an error that cannot be looked at is a line all the same', (t) => {
  const { log, lines } = start(t)

  log.error('a', { n: 1, err: Object.defineProperty(new Error('x'), 'message', { get () { throw new Error('again') } }) }, 'one')

  t.match(lines, [{ level: 50, n: 1, err: { message: 'an error that cannot be shown' }, msg: 'one' }])
  t.end()
})
