import Fastify from 'fastify'
import t from 'tap'
import { createRateLimitedLogger } from '../../plugin/util/rate-limited-logger.js'
import { createReadQueue } from '../../plugin/read/read-queue.js'

function openQueue (maxConcurrent: number) {
  const lines: Array<{ msg: string, err: { message: string } }> = []
  const { log } = Fastify({ logger: { stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } } })
  return { queue: createReadQueue(maxConcurrent, createRateLimitedLogger(log)), lines }
}

/** A read that ends when it is told to. */
function createRead<T> (value: T) {
  const { promise: started, resolve: start } = defer<void>()
  const { promise: ended, resolve: end } = defer<T>()
  return { started, end: () => { end(value) }, read: () => { start(); return ended } }
}

function defer<T> () {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>((_resolve) => { resolve = _resolve })
  return { promise, resolve }
}

t.test('no more reads are under way than allowed, and the others follow in the order they came', async (t) => {
  const { queue } = openQueue(2)
  let running = 0
  let most = 0
  const order: number[] = []
  await Promise.all(Array.from({ length: 20 }, (_, i) => queue.run(async () => {
    order.push(i)
    most = Math.max(most, ++running)
    await new Promise((resolve) => { setImmediate(resolve) })
    running--
  })))
  t.equal(most, 2)
  t.same(order, Array.from({ length: 20 }, (_, i) => i))
})

t.test('a place that was free before is free again after', async (t) => {
  const { queue } = openQueue(1)
  t.equal(await queue.run(async () => 1), 1)
  t.equal(await queue.run(async () => 2), 2)
})

t.test('a newcomer does not overtake one that waits, nor take a place that was handed over', async (t) => {
  const { queue } = openQueue(1)
  const [first, second, third] = [createRead(1), createRead(2), createRead(3)]
  const results = [queue.run(first.read), queue.run(second.read)]
  await first.started
  first.end()
  await results[0]
  results.push(queue.run(third.read))
  await second.started
  let thirdStarted = false
  third.started.then(() => { thirdStarted = true })
  await new Promise((resolve) => { setImmediate(resolve) })
  t.notOk(thirdStarted, 'the second has the place')
  second.end()
  await third.started
  third.end()
  t.same(await Promise.all(results), [1, 2, 3])
})

t.test('a read that fails is tried again until it succeeds, and the failures are logged', async (t) => {
  const { queue, lines } = openQueue(1)
  let tries = 0
  t.equal(await queue.run(async () => {
    if (++tries < 3) throw new Error(`try ${tries}`)
    return 'rows'
  }), 'rows')
  t.equal(tries, 3)
  t.match(lines, [{ msg: 'journal: a read failed and will be tried again', err: { message: 'try 1' } }])
})

t.test('closing ends the reads that are being tried again, and those that wait for a place', async (t) => {
  const { queue } = openQueue(1)
  const { promise: failed, resolve: fail } = defer<void>()
  const failing = queue.run(async () => {
    fail()
    throw new Error('the database is away')
  })
  let asked = false
  const waiting = queue.run(async () => { asked = true })
  await failed
  queue.close()
  await t.rejects(failing, { name: 'AbortError' })
  await t.rejects(waiting, { name: 'AbortError' })
  await t.rejects(queue.run(async () => { asked = true }), { name: 'AbortError' })
  t.notOk(asked, 'nothing is read after the close')
})

t.test('a read that is under way when the queue closes gives its rows', async (t) => {
  const { queue } = openQueue(1)
  const { read, started, end } = createRead('rows')
  const result = queue.run(read)
  await started
  queue.close()
  end()
  t.equal(await result, 'rows')
})

t.test('one that must be told soon waits for its turn, and is told what went wrong', async (t) => {
  const { queue, lines } = openQueue(1)
  const first = createRead(1)
  const reading = queue.run(first.read)
  await first.started
  let asked = false
  const asking = queue.once(async () => {
    asked = true
    throw new Error('no answer')
  })
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(asked, false)
  first.end()
  t.equal(await reading, 1)
  await t.rejects(asking, { message: 'no answer' })
  t.same(lines, [])
  t.equal(await queue.once(async () => 2), 2, 'its place is free again')
})

t.test('while reads fail, one that must be told soon does not wait for them, whether it came before or after', async (t) => {
  const { queue } = openQueue(1)
  let fail = (): void => {}
  let away = true
  const reading = queue.run(async () => {
    if (away) await new Promise((resolve, reject) => { fail = () => { reject(new Error('away')) } })
    return 1
  })
  await new Promise((resolve) => { setImmediate(resolve) })
  const before = queue.once(async () => { throw new Error('away too') })
  away = false
  fail()
  await t.rejects(before, { message: 'away too' })
  await t.rejects(queue.once(async () => { throw new Error('away as well') }), { message: 'away as well' })
  t.equal(await reading, 1)
  t.equal(await queue.run(async () => 2), 2, 'as many places as before')
})
