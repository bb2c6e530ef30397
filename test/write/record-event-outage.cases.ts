import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { startApp } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'
import { holdInserts, linesAbout, listen, observe } from '../helper/writing.js'

test('backends that are terminated in the middle of the load cost no event, double none and change no order', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const database = await observe(t, databaseUrl)
  const messageIds = await Promise.all(Array.from({ length: 10 }, () => database.addMessage()))
  const topics = await listen(t, app, ...messageIds)
  const count = 200

  let terminated = 0
  const recorded = messageIds.map(async (messageId) => {
    const results: Array<Promise<boolean>> = []
    for (let sequenceNo = 0; sequenceNo < count; sequenceNo++) {
      results.push(app.journal.recordEvent(messageId, sequenceNo, 'answer', { sequenceNo }))
      if (sequenceNo % 5 === 0) await turn()
      if (sequenceNo % 50 === 49) {
        const ended = await database.terminateOthers()
        terminated += ended
        await results.at(-1)
      }
    }
    return await Promise.all(results)
  })

  for (const results of await Promise.all(recorded)) t.ok(results.every(Boolean))
  t.ok(terminated > 0, `${terminated} backends were terminated`)
  const numbers = Array.from({ length: count }, (_, sequenceNo) => sequenceNo)
  await topics.flushed()
  for (const messageId of messageIds) {
    const rows = await database.rows(messageId)
    t.strictSame(rows.map((row) => JSON.parse(row.payload).sequenceNo), numbers)
    t.strictSame(rows.map((row) => row.sequence_no), numbers)
    const published = topics.envelopes.filter((envelope) => envelope.message_id === messageId)
    t.strictSame(published.map((envelope) => envelope.sequence_no), numbers, 'and each is published once, in order')
  }
})

test('events wait for a database that is away, and are then committed in the order of the calls', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, databaseUrl)
  const { app, lines } = await startApp(t, { databaseUrl: proxy.url })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  await app.journal.recordEvent(messageId, 0, 'answer', {})
  const topics = await listen(t, app, messageId)
  proxy.refuse()

  const recorded: Array<Promise<boolean>> = []
  for (let sequenceNo = 1; sequenceNo < 50; sequenceNo++) {
    recorded.push(app.journal.recordEvent(messageId, sequenceNo, 'answer', {}))
    await turn()
  }
  await proxy.untilRefused(3)
  await topics.flushed()
  t.strictSame(topics.texts, [])
  proxy.accept()

  t.ok((await Promise.all(recorded)).every(Boolean))
  await topics.until(49)
  t.strictSame(topics.envelopes.map((envelope) => envelope.sequence_no), Array.from({ length: 49 }, (_, n) => n + 1))
  t.strictSame((await database.rows(messageId)).map((row) => row.sequence_no), Array.from({ length: 50 }, (_, n) => n))
  t.strictSame(linesAbout(lines, 'an event was not recorded'), [])
})

test('a database that stays away for longer than writeRetryMs is false, logged and published as not committed', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, databaseUrl)
  const { app, lines } = await startApp(t, { databaseUrl: proxy.url, writeRetryMs: 1_500 })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)
  proxy.refuse()
  while (app.pg.pool.totalCount > 0) await turn() // what is sent on a connection that is gone, unnoticed, might have arrived

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', { answer: 'a' }), false)

  t.ok(proxy.refused > 1, 'it was tried more than once')
  t.match(linesAbout(lines, 'an event was not recorded'), [{ level: 50, messageId, sequenceNo: 0, eventType: 'answer', err: { message: String } }])
  await topics.until(1)
  t.strictSame(topics.texts, [`{"message_id":"${messageId}","sequence_no":0,"event_type":"answer","payload":{"answer":"a"},"committed":false}`])

  proxy.accept()
  t.equal(await app.journal.recordEvent(messageId, 1, 'answer', {}), true, 'and all is well once it is back')
  t.strictSame((await database.rows(messageId)).map((row) => row.sequence_no), [1])
})

test('a database that hangs is away too: past maxDoubtMs the answer is false', { timeout: 5_000 }, async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, databaseUrl)
  const { app } = await startApp(t, { databaseUrl: proxy.url, writeRetryMs: 200, maxDoubtMs: 600 })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  t.teardown(async () => { proxy.cut() }) // before the app closes, so that a test that fails ends all the same
  proxy.set('toServer', 'stall')

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', {}), false)
})

test('past maxPendingBytes an event is false at once, and those that wait already are not lost', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t, { maxPendingBytes: 10_000 })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const topics = await listen(t, app, messageId)
  const release = await holdInserts(t, databaseUrl)
  const payload = { answer: 'a'.repeat(1_000) }

  const waiting = Array.from({ length: 7 }, (_, sequenceNo) => app.journal.recordEvent(messageId, sequenceNo, 'answer', payload))
  t.equal(await app.journal.recordEvent(messageId, 7, 'answer', payload), false)

  await topics.until(1)
  t.match(topics.envelopes, [{ sequence_no: 7, committed: false }])
  t.match(linesAbout(lines, 'an event was not recorded'), [
    { level: 50, messageId, sequenceNo: 7, eventType: 'answer', err: { message: 'more than maxPendingBytes (10000) wait for the database' } }
  ])
  await release()
  t.ok((await Promise.all(waiting)).every(Boolean))
  const again = [8, 9, 10, 11, 12, 13, 14]
  const recorded = await Promise.all(again.map((sequenceNo) => app.journal.recordEvent(messageId, sequenceNo, 'answer', payload)))
  t.ok(recorded.every(Boolean), 'there is room again')
  t.strictSame((await database.rows(messageId)).map((row) => row.sequence_no), [0, 1, 2, 3, 4, 5, 6, ...again])
})

test('what an event costs beside its payload counts for maxPendingBytes', async (t) => {
  const { app, databaseUrl } = await startApp(t, { maxPendingBytes: 10_000 })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()
  const release = await holdInserts(t, databaseUrl)

  const recorded = Array.from({ length: 100 }, (_, sequenceNo) => app.journal.recordEvent(messageId, sequenceNo, 'answer', {}))
  await database.untilWaiting()
  await release()

  const accepted = (await Promise.all(recorded)).filter(Boolean).length
  t.ok(accepted > 10 && accepted < 100, `${accepted} were taken`)
})

test('one event larger than maxPendingBytes is taken when nothing waits', async (t) => {
  const { app, databaseUrl } = await startApp(t, { maxPendingBytes: 100 })
  const database = await observe(t, databaseUrl)
  const messageId = await database.addMessage()

  t.equal(await app.journal.recordEvent(messageId, 0, 'answer', { answer: 'a'.repeat(1_000) }), true)
})

test('a dead database under a thousand events writes a handful of lines, and one for each event whose outcome is unknown', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, databaseUrl)
  const { app, lines } = await startApp(t, { databaseUrl: proxy.url, writeRetryMs: 50, maxDoubtMs: 100 })
  const database = await observe(t, databaseUrl)
  const messageIds = await Promise.all(Array.from({ length: 100 }, () => database.addMessage()))
  const before = lines.length
  proxy.refuse()

  const recorded = await Promise.all(Array.from({ length: 1_000 }, (_, n) => app.journal.recordEvent(messageIds[n % 100] ?? '', n, 'answer', {})))

  t.ok(recorded.every((result) => !result))
  const written = lines.slice(before)
  const unknown = written.filter(({ msg }) => msg.includes('outcome unknown')).map(({ messageId, sequenceNo }) => `${messageId} ${sequenceNo}`)
  t.equal(new Set(unknown).size, unknown.length)
  const others = written.length - unknown.length
  t.ok(written.length > 0 && others < 10, `${unknown.length} unknown, and ${others} other lines`)
})
