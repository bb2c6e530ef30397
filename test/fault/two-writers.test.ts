import t, { type Test } from 'tap'
import { startApp } from '../helper/app.js'
import { eventsOf, has, makeMessage, upTo } from '../helper/journal.js'
import { connect, ids } from '../helper/sse.js'

const EVENTS = 200

/** By default no heartbeat tells a writer that it was fenced before its own events do. */
async function startTwo (t: Test, heartbeatMs = 600_000) {
  const times = { heartbeatMs, producerIdleMs: 1_200_000 }
  const one = await startApp(t, times)
  const { databaseUrl } = one
  const two = await startApp(t, { ...times, databaseUrl, migrate: false })
  return { one, two, databaseUrl }
}

/** What the table has of a writer's events, by their numbers in its own count. */
async function journaled (databaseUrl: string, messageId: string, by: string): Promise<unknown[]> {
  return (await eventsOf(databaseUrl, messageId)).filter(({ payload }) => payload.by === by).map(({ payload }) => payload.no)
}

function trueOnes (recorded: boolean[]): number[] {
  return recorded.flatMap((committed, no) => committed ? [no] : [])
}

t.test('two apps record the same explicit numbers: no place is shared, nothing vanishes without a false, readers get all in order', async (t) => {
  const { one, two, databaseUrl } = await startTwo(t)
  const messageId = await makeMessage(databaseUrl)
  const readers = await Promise.all([one, two].map(async ({ url }) => await connect(t, `${url}/api/messages/${messageId}/events`)))
  const [byOne, byTwo] = await Promise.all(Object.entries({ one, two }).map(async ([by, { app }]) => {
    const recorded: Array<Promise<boolean>> = []
    for (let no = 0; no < EVENTS; no++) {
      recorded.push(app.journal.recordEvent(messageId, no, 'answer', { by, no }))
      if (no % 10 === 9) await Promise.all(recorded)
    }
    return await Promise.all(recorded)
  }))
  t.ok([...byOne ?? [], ...byTwo ?? []].every((committed) => committed))
  const numbers = Array.from({ length: EVENTS }, (_, no) => no)
  t.same(await journaled(databaseUrl, messageId, 'one'), numbers, 'each writer\'s own order is kept')
  t.same(await journaled(databaseUrl, messageId, 'two'), numbers)
  const rows = await eventsOf(databaseUrl, messageId)
  for (const reader of readers) {
    await reader.until(has(2 * EVENTS))
    t.same(ids(reader), rows.map(({ sequenceNo }) => String(sequenceNo)))
  }
})

t.test('two apps open one message: the first is fenced, knows it, and writes nothing from then on', async (t) => {
  const { one, two, databaseUrl } = await startTwo(t)
  const first = await one.app.journal.openMessage({ userId: 'ada' })
  const { messageId } = first
  const reader = await connect(t, `${two.url}/api/messages/${messageId}/events`)
  const mixed: Array<Promise<boolean>> = []
  for (let no = 0; no < EVENTS; no++) mixed.push(first.record('answer', { by: 'first', no }))
  const second = await two.app.journal.openMessage({ userId: 'ada', messageId })
  for (let no = EVENTS; no < 2 * EVENTS; no++) mixed.push(first.record('answer', { by: 'first', no }))
  const bySecond = Array.from({ length: EVENTS }, async (_, no) => await second.record('answer', { by: 'second', no }))
  const recorded = await Promise.all(mixed)

  t.same(await journaled(databaseUrl, messageId, 'first'), trueOnes(recorded), 'true exactly for what is there')
  t.equal(recorded.at(-1), false)
  t.same(trueOnes(recorded), upTo(trueOnes(recorded).length).map(Number), 'none after the first false')
  t.equal(first.signal.aborted, true)
  t.match(first.signal.reason, { code: 'FST_JOURNAL_FENCED' })
  t.equal(await first.end(), false)
  t.equal(one.app.journal.stats().producers, 0)

  t.ok((await Promise.all(bySecond)).every((committed) => committed))
  t.equal(second.signal.aborted, false)
  t.same(await journaled(databaseUrl, messageId, 'second'), Array.from({ length: EVENTS }, (_, no) => no))
  t.equal(await second.end(), true)
  await reader.ended
  t.same(ids(reader), upTo((await eventsOf(databaseUrl, messageId)).length))
})

t.test('a fenced writer that records nothing is told by its next heartbeat', async (t) => {
  const { one, two } = await startTwo(t, 100)
  const first = await one.app.journal.openMessage({ userId: 'ada' })
  await two.app.journal.openMessage({ userId: 'ada', messageId: first.messageId })
  await new Promise((resolve) => { first.signal.addEventListener('abort', resolve) })
  t.match(first.signal.reason, { code: 'FST_JOURNAL_FENCED' })
})

t.test('two writers in one app: the second openMessage fences the first at once', async (t) => {
  const { one, databaseUrl } = await startTwo(t)
  const first = await one.app.journal.openMessage({ userId: 'ada' })
  t.equal(await first.record('answer', { by: 'first' }), true)
  const second = await one.app.journal.openMessage({ userId: 'ada', messageId: first.messageId })
  t.equal(first.signal.aborted, true)
  t.equal(await first.record('answer', { by: 'first' }), false)
  t.equal(await second.end(), true)
  t.same((await eventsOf(databaseUrl, first.messageId)).map(({ eventType }) => eventType), ['answer', 'end'])
})

t.test('a number that comes late, behind one that readers have passed, is moved to the end', async (t) => {
  const { one, two, databaseUrl } = await startTwo(t)
  const messageId = await makeMessage(databaseUrl)
  const reader = await connect(t, `${two.url}/api/messages/${messageId}/events`)
  for (const no of [0, 1, 5]) t.equal(await one.app.journal.recordEvent(messageId, no, 'answer', { no }), true)
  await reader.until(has(3))
  t.equal(await two.app.journal.recordEvent(messageId, 3, 'answer', { no: 'late' }), true)
  t.equal(await one.app.journal.recordEvent(messageId, 5, 'answer', { no: 'taken' }), true)
  t.equal(await one.app.journal.recordEvent(messageId, 5, 'answer', { no: 5 }), true, 'the very same event is a retry')
  await reader.until(has(5))
  t.same(ids(reader), ['0', '1', '5', '6', '7'])
  t.same((await eventsOf(databaseUrl, messageId)).map(({ payload }) => payload.no), [0, 1, 5, 'late', 'taken'])
})

t.test('late numbers within one batch are moved behind those that came before them', async (t) => {
  const { one, databaseUrl } = await startTwo(t)
  const messageId = await makeMessage(databaseUrl)
  const recorded = [4, 2, 4, 9, 2].map(async (no, call) => await one.app.journal.recordEvent(messageId, no, 'answer', { call }))
  t.same(await Promise.all(recorded), [true, true, true, true, true])
  t.same((await eventsOf(databaseUrl, messageId)).map(({ sequenceNo, payload }) => [sequenceNo, payload.call]), [[4, 0], [5, 1], [6, 2], [9, 3], [10, 4]])
})

t.test('an app\'s own number goes ahead of a producer\'s: what the producer records from then on stands behind it, and readers get all', async (t) => {
  const { one, two, databaseUrl } = await startTwo(t)
  const message = await one.app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  const reader = await connect(t, `${two.url}/api/messages/${messageId}/events`)
  t.equal(await message.record('answer', { by: 'producer', no: 0 }), true)
  t.equal(await two.app.journal.recordEvent(messageId, 5, 'answer', { by: 'app', no: 5 }), true)
  await reader.until(has(2))

  const recorded = [1, 2, 3].map(async (no) => await message.record('answer', { by: 'producer', no }))
  t.same(await Promise.all(recorded), [true, true, true])
  t.equal(await message.record('answer', { by: 'producer', no: 4 }), true)
  t.equal(await two.app.journal.recordEvent(messageId, 5, 'answer', { by: 'app', no: 5 }), true, 'a retry finds its row')
  t.equal(await message.end(), true)

  await reader.ended
  t.same(ids(reader), ['0', '5', '6', '7', '8', '9', '10'])
  const rows = await eventsOf(databaseUrl, messageId)
  t.same(rows.map(({ sequenceNo, payload }) => [sequenceNo, payload.no]), [[0, 0], [5, 5], [6, 1], [7, 2], [8, 3], [9, 4], [10, undefined]])
})

t.test('a producer that continues behind numbers that retention has deleted goes on above them: a reader may have had them', async (t) => {
  const { one, two, databaseUrl } = await startTwo(t)
  const { messageId } = await one.app.journal.openMessage({ userId: 'ada' })
  t.equal(await two.app.journal.recordEvent(messageId, 100, 'answer', {}), true)
  await one.app.pg.query('delete from message_events')
  const message = await two.app.journal.openMessage({ userId: 'ada', messageId })
  t.equal(await message.record('answer', {}), true)
  t.same((await eventsOf(databaseUrl, messageId)).map(({ sequenceNo }) => sequenceNo), [101])
})

t.test('a producer and an app number one message, event by event: every event has a place, each writer\'s order is kept', async (t) => {
  const { one, two, databaseUrl } = await startTwo(t)
  const message = await one.app.journal.openMessage({ userId: 'ada' })
  const { messageId } = message
  const readers = await Promise.all([one, two].map(async ({ url }) => await connect(t, `${url}/api/messages/${messageId}/events`)))
  const [byProducer, byApp] = await Promise.all([
    (async () => {
      const recorded: Array<Promise<boolean>> = []
      for (let no = 0; no < EVENTS; no++) {
        recorded.push(message.record('answer', { by: 'producer', no }))
        if (no % 7 === 0) await recorded.at(-1)
      }
      return await Promise.all(recorded)
    })(),
    (async () => {
      const recorded: boolean[] = []
      for (let no = 0; no < EVENTS; no++) recorded.push(await two.app.journal.recordEvent(messageId, no * 3, 'answer', { by: 'app', no }))
      return recorded
    })()
  ])
  t.ok([...byProducer, ...byApp].every((committed) => committed))
  t.equal(await message.end(), true)
  const numbers = Array.from({ length: EVENTS }, (_, no) => no)
  t.same(await journaled(databaseUrl, messageId, 'producer'), numbers)
  t.same(await journaled(databaseUrl, messageId, 'app'), numbers)
  const rows = await eventsOf(databaseUrl, messageId)
  for (const reader of readers) {
    await reader.ended
    t.same(ids(reader), rows.map(({ sequenceNo }) => String(sequenceNo)))
  }
})
