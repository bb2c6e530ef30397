import t, { type Test } from 'tap'
import { startApp, type TestAppOptions } from '../helper/app.js'
import { eventually, has, makeMessage, upTo } from '../helper/journal.js'
import type { Verdict } from '../helper/resp-filter.js'
import { connect, ids } from '../helper/sse.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'

const NEVER_MS = 600_000

/** An app whose subscriber gets what `filter` lets through, and an open reader of a message without producer. */
async function startFiltered (t: Test, filter: (sequenceNo: number) => Verdict, options: TestAppOptions = {}) {
  const filtered: number[] = []
  const proxy = await startTcpProxy(t, process.env.TEST_REDIS_URL ?? '', {
    filter (_topic, text) {
      const sequenceNo = Number(/"sequence_no":(\d+)/.exec(text)?.[1])
      const verdict = filter(sequenceNo)
      if (verdict !== 'pass') filtered.push(sequenceNo)
      return verdict
    }
  })
  const started = await startApp(t, { redisUrl: proxy.url, reconcileMs: NEVER_MS, ...options })
  const messageId = await makeMessage(started.databaseUrl)
  const reader = await connect(t, `${started.url}/api/messages/${messageId}/events`)
  const record = async (sequenceNo: number) => {
    t.equal(await started.app.journal.recordEvent(messageId, sequenceNo, 'answer', { no: sequenceNo }), true)
  }
  await record(0)
  await reader.until(has(1))
  return { ...started, reader, messageId, filtered, record, proxy }
}

t.test('the next event reveals that a publish was lost, and the reader gets both in order', async (t) => {
  const { reader, record, filtered } = await startFiltered(t, (sequenceNo) => sequenceNo === 1 ? 'drop' : 'pass')
  await record(1)
  await eventually(() => filtered.length > 0)
  await record(2)
  await reader.until(has(3))
  t.same(ids(reader), upTo(3))
})

t.test('when no event follows, the reconciliation tick finds what was lost', async (t) => {
  const { reader, record, filtered } = await startFiltered(t, (sequenceNo) => sequenceNo > 0 ? 'drop' : 'pass', { reconcileMs: 300 })
  await record(1)
  await record(2)
  await reader.until(has(3))
  t.same(ids(reader), upTo(3))
  await eventually(() => filtered.length === 2)
  t.same(filtered, [1, 2])
})

t.test('two publishes that change places reach the reader in the journal\'s order, once each', async (t) => {
  const { reader, record, filtered } = await startFiltered(t, (sequenceNo) => sequenceNo === 1 ? 'hold' : 'pass')
  await record(1)
  await eventually(() => filtered.length > 0)
  await record(2)
  await record(3)
  await reader.until(has(4))
  t.same(ids(reader), upTo(4))
})

t.test('a lost terminal event is found too, and ends the response', async (t) => {
  const { app, reader, messageId } = await startFiltered(t, (sequenceNo) => sequenceNo === 1 ? 'drop' : 'pass', { reconcileMs: 300 })
  t.equal(await app.journal.recordEvent(messageId, 1, 'end', { type: 'end' }), true)
  await reader.ended
  t.same(ids(reader), upTo(2))
})

t.test('a subscriber connection that is cut subscribes again and reads every open cursor again', async (t) => {
  let lose = false
  const { reader, record, proxy } = await startFiltered(t, () => lose ? 'drop' : 'pass')
  lose = true
  await record(1)
  proxy.cut()
  await reader.until(has(2))
  lose = false
  await record(2)
  await reader.until(has(3))
  t.same(ids(reader), upTo(3))
})
