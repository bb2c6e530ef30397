import t, { type Test } from 'tap'
import { collectAnswers } from '../helper/answers.js'
import { openConnections, startApp } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { ask, eventsOf, eventually, makeMessage, statusOf } from '../helper/journal.js'
import { untilQuiet } from '../helper/locks.js'
import { connect, ids } from '../helper/sse.js'
import { startTcpProxy, type Direction } from '../helper/tcp-proxy.js'
import { countStatements } from '../helper/writing.js'

const LIMITS = { writeRetryMs: 800, maxDoubtMs: 30_000, reconcileMs: 200 }

/** An app whose link to Postgres can fail, and another whose link is well, on one database, with a reader at the latter. */
async function start (t: Test, isLeased: boolean) {
  const databaseUrl = await createTestDatabase(t)
  const well = await startApp(t, { ...LIMITS, databaseUrl })
  const proxy = await startTcpProxy(t, databaseUrl)
  const failing = await startApp(t, { ...LIMITS, databaseUrl: proxy.url, migrate: false })
  await openConnections(failing.app)
  const leased = isLeased ? await failing.app.journal.openMessage({ userId: 'ada' }) : null
  const messageId = leased?.messageId ?? await makeMessage(databaseUrl)
  const path = `${well.url}/api/messages/${messageId}/events`
  const reader = await connect(t, path)
  const answers = collectAnswers(databaseUrl, failing.lines)
  const record = async () => leased === null ? await answers.recordEvent(failing.app, messageId) : await answers.record(leased)
  t.equal(await record(), true)
  const appends = countStatements(failing.app, /append/)

  return {
    databaseUrl,
    well,
    proxy,
    leased,
    messageId,
    answers,
    record,
    /** Records some events, whose statement, or its answer, is held on the link; `committed`: until they are in the table. */
    async recordDoubtful (direction: Direction): Promise<{ recorded: Promise<boolean[]> }> {
      proxy.set(direction, 'stall')
      const before = (await eventsOf(databaseUrl, messageId)).length
      const recorded = Promise.all([record(), record(), record()])
      await eventually(async () => direction === 'toServer' ? appends() > 0 : (await eventsOf(databaseUrl, messageId)).length > before)
      return { recorded }
    },
    /** The answers and the readers are compared with the table. */
    async compare (): Promise<void> {
      await untilQuiet(databaseUrl)
      t.same(await answers.wrong(), [])
      t.equal(answers.unknown().size, 0)
      const rows = (await eventsOf(databaseUrl, messageId)).map(({ sequenceNo }) => String(sequenceNo))
      const late = await connect(t, path)
      for (const each of [reader, late]) {
        await each.ended
        t.same(ids(each).filter((id) => id !== undefined), rows)
      }
    }
  }
}

t.jobs = 8 // most of the time they wait

for (const isLeased of [true, false]) {
  for (const direction of ['toClient', 'toServer'] as const) {
    const what = direction === 'toClient' ? 'a commit whose answer is held' : 'an INSERT that is held on its way'
    t.test(`${what}, of a writer ${isLeased ? 'with' : 'without'} a lease, and a takeover before it is looked for`, { buffered: true }, async (t) => {
      const { well, proxy, leased, messageId, answers, record, recordDoubtful, compare, databaseUrl } = await start(t, isLeased)
      const { recorded: doubtful } = await recordDoubtful(direction)
      const second = await well.app.journal.openMessage({ userId: 'ada', messageId })
      t.equal(await second.record('second', { no: 0 }), true)
      proxy.set(direction, 'flow') // what was held arrives behind the takeover
      const recorded = await doubtful
      t.same(await answers.wrong(), [])
      if (direction === 'toClient') t.same(recorded, [true, true, true], 'they stand before the takeover')
      else if (isLeased) t.same(recorded, [false, false, false], 'the takeover has fenced them')
      if (leased !== null) {
        t.equal(await record(), false)
        t.match(leased.signal.reason, { code: 'FST_JOURNAL_FENCED' })
      }
      t.equal(await second.record('second', { no: 1 }), true)
      t.equal(await second.end(), true)
      t.equal((await eventsOf(databaseUrl, messageId)).at(-1)?.eventType, 'end')
      await compare()
    })
  }

  t.test(`a commit whose answer is lost, of a writer ${isLeased ? 'with' : 'without'} a lease, and the message ends before it is looked for`, { buffered: true }, async (t) => {
    const { well, proxy, messageId, record, recordDoubtful, compare, databaseUrl } = await start(t, isLeased)
    const { recorded: doubtful } = await recordDoubtful('toClient')
    const second = await well.app.journal.openMessage({ userId: 'ada', messageId })
    t.equal(await second.end(), true)
    proxy.cut()
    proxy.set('toClient', 'flow')
    t.same(await doubtful, [true, true, true])
    t.equal(await record(), false, 'the message has ended')
    t.equal(await statusOf(databaseUrl, messageId), 'complete')
    await compare()
  })
}

t.test('an end whose answer is lost stands where it is, also when the message was opened again before it is looked for', { buffered: true }, async (t) => {
  const { well, proxy, leased, messageId, databaseUrl } = await start(t, true)
  proxy.set('toClient', 'stall')
  const ended = leased?.end()
  await eventually(async () => await statusOf(databaseUrl, messageId) === 'complete')
  const second = await well.app.journal.openMessage({ userId: 'ada', messageId })
  t.equal(await second.record('second', { no: 0 }), true)
  proxy.cut()
  proxy.set('toClient', 'flow')
  t.equal(await ended, true)
  t.equal(second.signal.aborted, false)
  t.equal(await second.end(), true)
  t.same((await eventsOf(databaseUrl, messageId)).map(({ eventType }) => eventType), ['answer 0', 'end', 'second', 'end'])
})

t.test('a commit whose answer is lost, and the message is deleted before it is looked for', { buffered: true }, async (t) => {
  const { proxy, messageId, answers, recordDoubtful, databaseUrl } = await start(t, true)
  const { recorded: doubtful } = await recordDoubtful('toClient')
  await ask(databaseUrl, 'delete from messages where message_id = $1', [messageId])
  proxy.cut()
  proxy.set('toClient', 'flow')
  t.same(await doubtful, [false, false, false], 'they are not in the table any more')
  await untilQuiet(databaseUrl)
  t.same((await answers.wrong()).filter((wrong) => !wrong.startsWith('answer 0:')), [])
})
