import type { FastifyInstance } from 'fastify'
import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { openConnections, startApp } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { ask, eventsOf, eventually, statusOf } from '../helper/journal.js'
import { holdLock, untilQuiet } from '../helper/locks.js'
import { connect, ids } from '../helper/sse.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'

const LIMITS = { writeRetryMs: 800, reconcileMs: 200 }
const UNKNOWN = { code: 'FST_JOURNAL_OUTCOME_UNKNOWN', statusCode: 503 }
const FAILED = { type: 'error', code: 'producer_failed' }

/** An app whose link to Postgres can fail, and another whose link is well, with a producer that lives and its reader, on one database. */
async function start (t: Test) {
  const databaseUrl = await createTestDatabase(t)
  const well = await startApp(t, { ...LIMITS, databaseUrl })
  const proxy = await startTcpProxy(t, databaseUrl)
  const failing = await startApp(t, { ...LIMITS, databaseUrl: proxy.url, migrate: false })
  await openConnections(failing.app)
  const living = await well.app.journal.openMessage({ userId: 'ada' })
  t.equal(await living.record('answer', { no: 0 }), true)
  const read = async (messageId: string) => await connect(t, `${well.url}/api/messages/${messageId}/events`)
  const epochOf = async (messageId: string) => (await ask<{ epoch: number }>(databaseUrl, 'select epoch from messages where message_id = $1', [messageId]))[0]?.epoch ?? 0
  return { databaseUrl, well, proxy, failing, living, newId: randomUUID() as string, read, epochOf, reader: await read(living.messageId) }
}

/** Calls `act` before the next COMMIT of a transaction is sent. */
function beforeCommit ({ pg: { pool } }: FastifyInstance, act: () => void): void {
  pool.once('acquire', (client) => {
    const query = client.query
    client.query = function (...args: unknown[]) {
      const [config] = args
      if (typeof config === 'object' && config !== null && 'text' in config && config.text === 'commit') {
        client.query = query
        act()
      }
      return Reflect.apply(query, client, args)
    }
  })
}

t.jobs = 8 // most of the time they wait

for (const lock of ['select from messages for update', 'lock table messages in share mode', 'lock table messages in access exclusive mode']) {
  t.test(`an open that waits for a lock for too long (${lock}) has not happened, and will not`, { buffered: true }, async (t) => {
    const { databaseUrl, failing, living, reader, epochOf } = await start(t)
    const epoch = await epochOf(living.messageId)
    const held = await holdLock(t, databaseUrl, lock)
    await t.rejects(failing.app.journal.openMessage({ userId: 'ada', messageId: living.messageId }), { code: 'FST_JOURNAL_DATABASE_UNAVAILABLE', statusCode: 503 })
    await held.release()
    await untilQuiet(databaseUrl)
    t.equal(await epochOf(living.messageId), epoch)
    t.equal(await living.record('answer', { no: 1 }), true)
    t.equal(living.signal.aborted, false)
    t.equal(await living.end(), true)
    await reader.ended
    t.same(ids(reader), ['0', '1', '2'])
  })
}

t.test('a new message that cannot be made for too long is not there, and will not be', { buffered: true }, async (t) => {
  const { databaseUrl, failing, newId } = await start(t)
  const held = await holdLock(t, databaseUrl, 'lock table messages in share mode')
  await t.rejects(failing.app.journal.openMessage({ userId: 'ada', messageId: newId }), { code: 'FST_JOURNAL_DATABASE_UNAVAILABLE' })
  await held.release()
  await untilQuiet(databaseUrl)
  t.equal(await statusOf(databaseUrl, newId), undefined)
  const message = await failing.app.journal.openMessage({ userId: 'ada', messageId: newId, ifExists: 'refuse' })
  t.equal(await message.record('answer', {}), true)
})

for (const isNew of [true, false]) {
  const what = isNew ? 'a new message' : 'a message that has a producer'

  t.test(`COMMIT's answer is lost while ${what} is opened: it is open, once`, { buffered: true }, async (t) => {
    const { proxy, failing, living, newId, epochOf } = await start(t)
    const messageId = isNew ? newId : living.messageId
    const epoch = await epochOf(messageId)
    beforeCommit(failing.app, () => { proxy.set('toClient', 'drop') })
    const opening = failing.app.journal.openMessage({ userId: 'ada', messageId, ...isNew && { ifExists: 'refuse' as const } })
    await eventually(async () => await epochOf(messageId) > epoch)
    proxy.set('toClient', 'flow')
    proxy.cut()
    const message = await opening
    t.equal(await message.record('answer', { by: 'failing' }), true)
    t.equal(message.signal.aborted, false)
    t.equal(await living.record('answer', { no: 1 }), isNew, 'the older producer, if there was one, is fenced')
    t.equal(await message.end(), true)
  })

  t.test(`COMMIT's answer stays lost while ${what} is opened: the outcome is unknown, and then the message is failed`, { buffered: true }, async (t) => {
    const { databaseUrl, well, proxy, failing, living, newId, reader, read, epochOf } = await start(t)
    const messageId = isNew ? newId : living.messageId
    const epoch = await epochOf(messageId)
    beforeCommit(failing.app, () => { proxy.set('toClient', 'drop') })
    const opening = failing.app.journal.openMessage({ userId: 'ada', messageId })
    const unknown = t.rejects(opening, UNKNOWN)
    await eventually(async () => await epochOf(messageId) > epoch)
    proxy.refuse()
    const waiting = isNew ? await read(messageId) : reader
    await unknown
    proxy.set('toClient', 'flow')
    proxy.accept()
    await waiting.ended
    t.match(JSON.parse(waiting.events.at(-1)?.data ?? ''), FAILED)
    t.equal(await statusOf(databaseUrl, messageId), 'failed')
    t.equal((await eventsOf(databaseUrl, messageId)).filter(({ eventType }) => eventType === 'error').length, 1)
    t.equal(failing.app.journal.stats().producers, 0)
    const again = await well.app.journal.openMessage({ userId: 'ada', messageId })
    t.equal(await again.end(), true, 'it can be opened again')
  })

  t.test(`COMMIT is lost while ${what} is opened: the outcome is unknown, and nothing has happened`, { buffered: true }, async (t) => {
    const { databaseUrl, proxy, failing, living, newId, reader, epochOf } = await start(t)
    const messageId = isNew ? newId : living.messageId
    const epoch = await epochOf(messageId)
    beforeCommit(failing.app, () => { proxy.set('toServer', 'drop') })
    await t.rejects(failing.app.journal.openMessage({ userId: 'ada', messageId }), UNKNOWN)
    proxy.set('toServer', 'flow')
    proxy.cut()
    t.equal(await living.record('answer', { no: 1 }), true, 'the producer is not fenced')
    // It is looked for, and that takes the row for a moment
    await eventually(async () => (await failing.app.journal.openMessage({ userId: 'bob' }).then((message) => message.end(), () => false)))
    await untilQuiet(databaseUrl)
    t.equal(await epochOf(messageId), epoch)
    t.equal(living.signal.aborted, false)
    t.equal(await living.end(), true)
    await reader.ended
    t.same(ids(reader), ['0', '1', '2'])
  })

  t.test(`COMMIT is late while ${what} is opened: the outcome is unknown, and nobody waits for a producer that there is not`, { buffered: true }, async (t) => {
    const { databaseUrl, proxy, failing, living, newId, reader, read, epochOf } = await start(t)
    const messageId = isNew ? newId : living.messageId
    const epoch = await epochOf(messageId)
    beforeCommit(failing.app, () => { proxy.set('toServer', 'stall') })
    await t.rejects(failing.app.journal.openMessage({ userId: 'ada', messageId }), UNKNOWN)
    proxy.set('toServer', 'flow') // and COMMIT arrives, unless Postgres has given the transaction up
    await untilQuiet(databaseUrl)
    if (await epochOf(messageId) > epoch) {
      const waiting = isNew ? await read(messageId) : reader
      await waiting.ended
      t.match(JSON.parse(waiting.events.at(-1)?.data ?? ''), FAILED)
      t.equal(await statusOf(databaseUrl, messageId), 'failed')
    } else {
      t.comment('the transaction was given up')
      t.equal(await living.record('answer', { no: 1 }), true)
    }
  })
}

t.test('a message whose open had an unknown outcome, and that was opened again before it is looked for, is not failed', { buffered: true }, async (t) => {
  const { databaseUrl, well, proxy, failing, newId, read, epochOf } = await start(t)
  beforeCommit(failing.app, () => { proxy.set('toClient', 'drop') })
  const unknown = t.rejects(failing.app.journal.openMessage({ userId: 'ada', messageId: newId }), UNKNOWN)
  await eventually(async () => await epochOf(newId) > 0)
  proxy.refuse()
  await unknown
  const message = await well.app.journal.openMessage({ userId: 'ada', messageId: newId })
  const reader = await read(newId)
  t.equal(await message.record('answer', { no: 0 }), true)
  proxy.set('toClient', 'flow')
  proxy.accept()
  await eventually(async () => (await failing.app.journal.openMessage({ userId: 'bob' }).then((other) => other.end(), () => false)))
  await untilQuiet(databaseUrl)
  t.equal(message.signal.aborted, false)
  t.equal(await message.record('answer', { no: 1 }), true)
  t.equal(await message.end(), true)
  await reader.ended
  t.same(ids(reader), ['0', '1', '2'])
})
