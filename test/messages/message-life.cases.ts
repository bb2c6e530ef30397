import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { test } from 'tap'
import type { Message, Produce } from '../../plugin/index.js'
import { openConnections, startApp, type TestAppOptions } from '../helper/app.js'
import { createTestDatabase } from '../helper/database.js'
import { gate } from '../helper/gate.js'
import { ask, eventsOf, eventually, has, insertEvents, statusOf } from '../helper/journal.js'
import { connect, ids } from '../helper/sse.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'
import { beforeStatements, countStatements, linesAbout, observe } from '../helper/writing.js'

const TIMES = { heartbeatMs: 100, producerIdleMs: 600, reconcileMs: 50 }
const STALE = { type: 'error', error: 'The answer was interrupted.', code: 'producer_stale' }
const SILENT = { ...STALE, code: 'producer_silent' }
const FAILED = { type: 'error', error: 'The answer could not be completed.', code: 'producer_failed' }

async function payloads (databaseUrl: string, messageId: string): Promise<unknown[]> {
  return (await eventsOf(databaseUrl, messageId)).map(({ payload }) => payload)
}

/** Resolves when the app has renewed its leases so many times more. */
async function untilBeaten (app: FastifyInstance, times: number): Promise<void> {
  const beats = countStatements(app, /from lease left join/)
  await eventually(() => beats() >= times)
}

test('a message that was opened and is never used is ended as stale, though its process lives', async (t) => {
  const { app, databaseUrl, url } = await startApp(t, TIMES)
  const message = await app.journal.openMessage({ userId: 'ada' })
  const reader = await connect(t, `${url}/api/messages/${message.messageId}/events`)

  await reader.ended

  t.strictSame(await payloads(databaseUrl, message.messageId), [STALE])
  t.equal(await statusOf(databaseUrl, message.messageId), 'failed')
  await eventually(() => message.signal.aborted)
  t.match(message.signal.reason, { code: 'FST_JOURNAL_FENCED' })
  t.equal(await message.record('answer', {}), false)
})

for (const [what, use] of [
  ['has recorded once', async (message: Message) => await message.record('answer', {})],
  ['has said once that it lives', async (message: Message) => await message.touch()]
] as const) {
  test(`a message that its producer ${what} is kept for longer than producerIdleMs`, async (t) => {
    const { app, databaseUrl } = await startApp(t, TIMES)
    const message = await app.journal.openMessage({ userId: 'ada' })
    t.equal(await use(message), true)

    await ask(databaseUrl, 'select pg_sleep(1.5)')

    t.equal(await statusOf(databaseUrl, message.messageId), 'streaming')
    t.equal(message.signal.aborted, false)
    t.equal(await message.end(), true)
  })
}

test('a producer function that records nothing keeps its message for longer than producerIdleMs', async (t) => {
  const done = gate()
  const { app, url, databaseUrl } = await startApp(t, {
    ...TIMES,
    extend (app) { app.post('/ask', async (request, reply) => await reply.streamMessage({ userId: 'ada' }, async () => { await done.opened })) }
  })
  const client = await connect(t, `${url}/ask`, { method: 'POST' })
  const messageId = String(client.response.headers['x-message-id'])
  t.equal(client.response.headers['location'], `/api/messages/${messageId}/events`)

  await ask(databaseUrl, 'select pg_sleep(1.5)')
  t.equal(await statusOf(databaseUrl, messageId), 'streaming')
  t.equal(app.journal.stats().producers, 1)
  done.open()

  await client.ended
  t.strictSame(await payloads(databaseUrl, messageId), [{ type: 'end' }])
})

test('streamMessage that cannot open the message is answered with the error, and nothing is opened', async (t) => {
  const { url, databaseUrl } = await startApp(t, {
    extend (app) { app.post('/ask', async (request, reply) => await reply.streamMessage({ userId: 'ada', messageId: 'mine' }, () => t.fail('produced'))) }
  })
  const client = await connect(t, `${url}/ask`, { method: 'POST' })
  await client.ended
  t.equal(client.status, 400)
  t.match(JSON.parse(client.raw), { code: 'FST_JOURNAL_INVALID_MESSAGE_ID' })
  t.strictSame(await ask(databaseUrl, 'select from messages'), [])
})

test('a message that is held but not used, and recorded to without the lease in the same process, stays its holder\'s', async (t) => {
  const { app, databaseUrl } = await startApp(t, TIMES)
  const message = await app.journal.openMessage({ userId: 'ada' })
  t.equal(await app.journal.recordEvent(message.messageId, 0, 'answer', { by: 'another' }), true)

  await untilBeaten(app, 4)

  t.equal(message.signal.aborted, false)
  t.equal(await message.record('answer', { by: 'holder' }), true)
  t.equal(await message.end(), true)
  t.strictSame(await payloads(databaseUrl, message.messageId), [{ by: 'another' }, { by: 'holder' }, { type: 'end' }])
})

test('a producer that has ended its message is told nothing by a heartbeat that was under way', async (t) => {
  const { app } = await startApp(t, TIMES)
  const message = await app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.record('answer', {}), true)
  let ended: Promise<boolean> | undefined
  beforeStatements(app, /from lease left join/, async () => await (ended ??= message.end()))
  await eventually(() => ended !== undefined)

  t.equal(await ended, true)
  const next = await app.journal.openMessage({ userId: 'ada' })
  t.equal(await next.record('answer', {}), true)
  await untilBeaten(app, 2)
  t.equal(message.signal.aborted, false)
})

test('a producer that lives and records nothing for producerSilenceMs is ended, and told', async (t) => {
  const { app, databaseUrl, url, lines } = await startApp(t, { ...TIMES, producerSilenceMs: 1_000 })
  const message = await app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.record('answer', {}), true)
  const reader = await connect(t, `${url}/api/messages/${message.messageId}/events`)

  await reader.ended

  t.strictSame(await payloads(databaseUrl, message.messageId), [{}, SILENT])
  t.strictSame(reader.events.map(({ data }) => JSON.parse(data)), [{}, SILENT])
  t.match(reader.raw, /: end failed\n\n$/)
  await eventually(() => message.signal.aborted)
  t.match(message.signal.reason, { code: 'FST_JOURNAL_FENCED' })
  t.equal(await message.record('answer', { late: true }), false)
  t.equal(await message.end(), false)
  t.equal(app.journal.stats().producers, 0)
  t.match(linesAbout(lines, 'its producer recorded nothing for producerSilenceMs'), [{ level: 40, messageId: message.messageId }])
  t.strictSame(await ask(databaseUrl, `
    select ended_at - e.created_at >= interval '1 s' as late from messages m join message_events e using (message_id) where sequence_no = 0`), [{ late: true }])
})

test('touch() keeps a silent producer for as long as it is called, and a hanging one ends after producerSilenceMs', async (t) => {
  const { app, databaseUrl } = await startApp(t, { ...TIMES, producerSilenceMs: 1_000 })
  const [touched, hanging] = [await app.journal.openMessage({ userId: 'ada' }), await app.journal.openMessage({ userId: 'ada' })]
  t.strictSame(await Promise.all([touched.touch(), hanging.touch()]), [true, true])

  while (!hanging.signal.aborted) {
    t.equal(await touched.touch(), true)
    await delay(100)
  }
  t.strictSame(await payloads(databaseUrl, hanging.messageId), [SILENT])
  t.equal(await hanging.touch(), false)
  t.equal(await touched.end(), true)
  t.strictSame(await payloads(databaseUrl, touched.messageId), [{ type: 'end' }])
})

test('with producerSilenceMs 0 a producer that lives may be silent for ever', async (t) => {
  const { app, databaseUrl } = await startApp(t, { ...TIMES, producerSilenceMs: 0 })
  const message = await app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.record('answer', {}), true)
  await ask(databaseUrl, 'update messages set touched_at = now() - interval \'1 year\'')
  await ask(databaseUrl, 'update message_events set created_at = now() - interval \'1 year\'')
  await untilBeaten(app, 8)
  t.equal(message.signal.aborted, false)
  t.equal(await message.end(), true)
})

test('events that another writer puts into the message count, and its producer is not ended as silent', async (t) => {
  const { app, databaseUrl } = await startApp(t, { ...TIMES, producerSilenceMs: 700 })
  const message = await app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.record('answer', {}), true)
  for (let no = 1; no <= 20; no++) {
    await insertEvents(databaseUrl, message.messageId, { first: no })
    await delay(100)
  }
  t.equal(message.signal.aborted, false)
  t.equal(await message.end(), true)
  t.equal((await eventsOf(databaseUrl, message.messageId)).length, 22)
})

test('a producer whose message was taken over elsewhere does not end it as silent', async (t) => {
  const { app, databaseUrl } = await startApp(t, { ...TIMES, producerSilenceMs: 500 })
  const other = await startApp(t, { ...TIMES, databaseUrl, migrate: false })
  const end = gate()
  t.teardown(() => { end.open() })
  beforeStatements(app, /from lease left join/, async () => { await end.opened }) // no heartbeat tells it
  const older = await app.journal.openMessage({ userId: 'ada' })
  t.equal(await older.touch(), true)
  const newer = await other.app.journal.openMessage({ userId: 'ada', messageId: older.messageId })
  t.equal(await newer.touch(), true)

  await ask(databaseUrl, 'select pg_sleep(1.5)')

  t.equal(await statusOf(databaseUrl, newer.messageId), 'streaming')
  t.equal(await newer.record('answer', {}), true)
  t.equal(older.signal.aborted, false)
  end.open()
  await eventually(() => older.signal.aborted)
})

test('a silent producer that cannot be ended is logged, and ended when that is possible again', async (t) => {
  const { app, databaseUrl, lines } = await startApp(t, { ...TIMES, producerSilenceMs: 700 })
  const database = await observe(t, databaseUrl)
  const message = await app.journal.openMessage({ userId: 'ada' })
  t.equal(await message.record('answer', {}), true)
  await database.query(`
    create function refuse () returns trigger language plpgsql as $$ begin raise exception 'refused by the test'; end $$;
    create trigger refuse before update of status on messages for each row execute function refuse()`)

  await eventually(() => linesAbout(lines, 'a silent producer could not be ended').length > 0)
  t.match(linesAbout(lines, 'a silent producer could not be ended')[0], { level: 50, messageId: message.messageId, err: { message: 'refused by the test' } })
  t.equal(message.signal.aborted, false)
  await database.query('drop trigger refuse on messages')

  await eventually(() => message.signal.aborted)
  t.strictSame(await payloads(databaseUrl, message.messageId), [{}, SILENT])
})

test('touch() is false, and does not throw, when the message has ended, is somebody else\'s, or Postgres is away', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, databaseUrl)
  const { app, lines } = await startApp(t, { databaseUrl: proxy.url })
  const [ended, taken, mine] = [await app.journal.openMessage({}), await app.journal.openMessage({}), await app.journal.openMessage({})]
  const other = await startApp(t, { databaseUrl, migrate: false })
  await openConnections(app)

  t.equal(await ended.end(), true)
  t.equal(await ended.touch(), false)
  await other.app.journal.openMessage({ messageId: taken.messageId })
  t.equal(await taken.touch(), false)
  t.strictSame(await ask(databaseUrl, 'select touched_at > created_at as touched from messages where message_id = $1', [mine.messageId]), [{ touched: false }])
  t.equal(await mine.touch(), true)
  t.strictSame(await ask(databaseUrl, 'select touched_at > created_at as touched from messages where message_id = $1', [mine.messageId]), [{ touched: true }])
  proxy.refuse()
  t.equal(await mine.touch(), false)
  t.match(linesAbout(lines, 'a sign of life could not be written'), [{ level: 50, messageId: mine.messageId }])
})

/** POST /ask answers with the message's stream. */
async function startAsking (t: Parameters<typeof startApp>[0], produce: Produce, options: TestAppOptions = {}) {
  const started = await startApp(t, {
    ...options,
    extend (app) { app.post('/ask', async (request, reply) => await reply.streamMessage({ userId: 'ada' }, produce)) }
  })
  return { ...started, openClient: async () => await connect(t, `${started.url}/ask`, { method: 'POST' }) }
}

for (const [eventType, payload, status] of [['finish', { usage: 3 }, 'complete'], ['chunk', { type: 'error', error: 'too long' }, 'failed'], ['end', {}, 'complete']] as const) {
  test(`a producer whose last event is ${eventType} ${JSON.stringify(payload)} has ended its message: the status follows, and no further event`, async (t) => {
    const { databaseUrl, url, openClient } = await startAsking(t, async (message) => {
      await message.record('answer', {})
      message.record(eventType, payload) // on its way when the function returns
    }, { terminalTypes: ['end', 'error', 'finish'] })

    const client = await openClient()
    await client.ended

    const messageId = String(client.response.headers['x-message-id'])
    t.strictSame(await payloads(databaseUrl, messageId), [{}, payload])
    t.strictSame(await ask(databaseUrl, 'select status, ended_no, ended_at is not null as dated from messages'), [{ status, ended_no: 1, dated: true }])
    t.strictSame(ids(client), ['0', '1'])
    t.match(client.raw, new RegExp(`: end ${status}\n\n$`))
    const again = await connect(t, `${url}/api/messages/${messageId}/events`)
    await again.ended
    t.strictSame(ids(again), ['0', '1'])
  })
}

test('a producer that records its own last event and throws has failed, with the error in the table', async (t) => {
  const { databaseUrl, openClient } = await startAsking(t, async (message) => {
    await message.record('error', { type: 'error', error: 'sorry' })
    throw new Error('the cause')
  })
  const client = await openClient()
  await client.ended
  const messageId = String(client.response.headers['x-message-id'])
  t.strictSame(await payloads(databaseUrl, messageId), [{ type: 'error', error: 'sorry' }])
  t.strictSame(await ask(databaseUrl, 'select status, error, ended_no from messages'), [{ status: 'failed', error: 'the cause', ended_no: 0 }])
})

test('a producer whose last event another writer has followed gets an end behind both', async (t) => {
  let databaseUrl = ''
  const started = await startAsking(t, async (message) => {
    await message.record('end', { by: 'the producer' })
    await insertEvents(databaseUrl, message.messageId, { first: 1 })
  })
  databaseUrl = started.databaseUrl
  const client = await started.openClient()
  await client.ended
  t.strictSame(await payloads(databaseUrl, String(client.response.headers['x-message-id'])), [{ by: 'the producer' }, { type: 'answer', answer: 'xxxxxxxx' }, { type: 'end' }])
  t.strictSame(ids(client), ['0', '1', '2'])
})

test('a producer that was fenced while its last event was on its way ends nothing', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const other = await startApp(t, { databaseUrl })
  let newer: Message | undefined
  const { openClient } = await startAsking(t, async (message) => {
    newer = await other.app.journal.openMessage({ userId: 'ada', messageId: message.messageId })
    message.record('end', { by: 'the older' })
  }, { databaseUrl, migrate: false })
  const client = await openClient()
  const messageId = String(client.response.headers['x-message-id'])
  await eventually(() => newer !== undefined)

  t.equal(await newer?.record('answer', { by: 'the newer' }), true)
  await client.until(has(1))
  t.equal(await statusOf(databaseUrl, messageId), 'streaming')
  t.equal(await newer?.end(), true)
  await client.ended
  t.strictSame(await payloads(databaseUrl, messageId), [{ by: 'the newer' }, { type: 'end' }])
})

test('a payload that cannot be read a second time ends nothing by its type', async (t) => {
  const { databaseUrl, openClient } = await startAsking(t, async (message) => {
    let reads = 0
    await message.record('chunk', {
      get type () {
        if (++reads > 1) throw new Error('once only')
        return 'end'
      }
    })
  })
  const client = await openClient()
  await client.ended
  t.strictSame(await payloads(databaseUrl, String(client.response.headers['x-message-id'])), [{ type: 'end' }, { type: 'end' }])
})

test('an event without a payload that is an object ends its message by its type alone', async (t) => {
  const { databaseUrl, openClient } = await startAsking(t, async (message) => { await message.record('end', ['type', 'answer']) })
  const client = await openClient()
  await client.ended
  t.strictSame(await payloads(databaseUrl, String(client.response.headers['x-message-id'])), [{}])
  t.match(client.raw, /: end complete\n\n$/)
})

test('streamMessage of a message that has ended already answers with what there is, and runs the producer for nothing', async (t) => {
  const recorded: boolean[] = []
  const { url, databaseUrl } = await startApp(t, {
    extend (app) {
      app.post('/ask', async (request, reply) => {
        const message = await app.journal.openMessage({ userId: 'ada' })
        await message.end()
        return reply.streamMessage(message, async (message) => { recorded.push(await message.record('answer', {})) })
      })
    }
  })
  const client = await connect(t, `${url}/ask`, { method: 'POST' })
  await client.ended
  t.strictSame(recorded, [false])
  t.strictSame(await payloads(databaseUrl, String(client.response.headers['x-message-id'])), [{ type: 'end' }])
  t.strictSame(ids(client), ['0'])
})

test('a producer of a message that has ended already and that throws changes nothing', async (t) => {
  const { app, url, databaseUrl, lines } = await startApp(t, {
    extend (app) {
      app.post('/ask', async (request, reply) => {
        const message = await app.journal.openMessage({ userId: 'ada' })
        await message.end()
        return reply.streamMessage(message, async () => { throw new Error('no') })
      })
    }
  })
  const client = await connect(t, `${url}/ask`, { method: 'POST' })
  await client.ended
  t.strictSame(await payloads(databaseUrl, String(client.response.headers['x-message-id'])), [{ type: 'end' }])
  t.match(linesAbout(lines, 'a producer failed'), [{ level: 50, err: { message: 'no' } }])
  t.equal(app.journal.stats().producers, 0)
})

test('a status that cannot be written while Postgres is away is tried for writeRetryMs, and then written', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, databaseUrl)
  const { url } = await startApp(t, { databaseUrl })
  const refused = gate()
  const { openClient } = await startAsking(t, async (message) => {
    await message.record('end', { by: 'the producer' })
    proxy.refuse()
    refused.open()
  }, { databaseUrl: proxy.url, migrate: false })
  const client = await openClient()
  await refused.opened
  await proxy.untilRefused(2)
  proxy.accept()
  await client.ended
  const messageId = String(client.response.headers['x-message-id'])
  t.strictSame(await payloads(databaseUrl, messageId), [{ by: 'the producer' }])
  t.equal(await statusOf(databaseUrl, messageId), 'complete')
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
  await reader.ended
  t.strictSame(ids(reader), ['0'])
})

test('a status that cannot be written within writeRetryMs is logged, and the message is ended by others', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const proxy = await startTcpProxy(t, databaseUrl)
  await startApp(t, { ...TIMES, databaseUrl })
  let messageId = ''
  const { openClient, lines } = await startAsking(t, async (message) => {
    messageId = message.messageId
    await message.record('end', { by: 'the producer' })
    proxy.refuse()
  }, { ...TIMES, databaseUrl: proxy.url, migrate: false, writeRetryMs: 400 })
  await openClient()

  await eventually(() => linesAbout(lines, 'status could not be written').length > 0)
  t.match(linesAbout(lines, 'status could not be written'), [{ level: 50, messageId, err: Object }])
  await eventually(async () => await statusOf(databaseUrl, messageId) === 'failed')
  t.strictSame(await payloads(databaseUrl, messageId), [{ by: 'the producer' }, STALE])
})

/** Resolves with what the request was answered, and the message that its handler has opened. */
async function askHandler (t: Parameters<typeof startApp>[0], handler: (app: FastifyInstance, opened: Message) => unknown) {
  const messages: Message[] = []
  const { app, url, databaseUrl } = await startApp(t, {
    extend (app) {
      app.post('/ask', async (request, reply) => {
        const message = await app.journal.openMessage({ userId: 'ada' })
        messages.push(message)
        reply.header('x-message-id', message.messageId)
        return await handler(app, message)
      })
      app.post('/refuse', async (request, reply) => {
        messages.push(await app.journal.openMessage({ userId: 'ada' }))
        return reply.code(422).send({})
      })
    }
  })
  return { app, url, databaseUrl, messages }
}

test('a handler that throws between openMessage and streamMessage fails the message durably, and its readers see that at once', async (t) => {
  const { url, databaseUrl, messages } = await askHandler(t, () => { throw new Error('password is hunter2') })

  const response = await fetch(`${url}/ask`, { method: 'POST' })
  t.equal(response.status, 500)
  const [message] = messages
  const reader = await connect(t, `${url}/api/messages/${message?.messageId}/events`)
  await reader.ended

  t.strictSame(reader.events.map(({ data }) => JSON.parse(data)), [FAILED])
  t.strictSame(await ask(databaseUrl, 'select status, error from messages'), [{ status: 'failed', error: 'password is hunter2' }])
  t.equal(await message?.record('answer', {}), false)
})

test('a handler that answers with an error instead of producing fails the message', async (t) => {
  const { url, databaseUrl } = await askHandler(t, () => null)
  t.equal((await fetch(`${url}/refuse`, { method: 'POST' })).status, 422)
  await eventually(async () => (await ask(databaseUrl, 'select from messages where status <> \'streaming\'')).length === 1)
  t.strictSame(await ask(databaseUrl, 'select status, error from messages'), [{ status: 'failed', error: 'the request was answered with 422' }])
  t.strictSame(await ask(databaseUrl, 'select payload from message_events'), [{ payload: FAILED }])
})

test('a handler that hands its message to a worker and then fails does not cost the worker its message', async (t) => {
  const { url, databaseUrl, messages } = await askHandler(t, async (app, message) => {
    await app.journal.openMessage({ userId: 'ada' }) // this one nobody uses
    await message.record('answer', {})
    throw new Error('no')
  })
  t.equal((await fetch(`${url}/ask`, { method: 'POST' })).status, 500)
  await eventually(async () => (await ask(databaseUrl, 'select from messages where status = \'failed\'')).length > 0)
  const [message] = messages
  t.equal(await message?.end(), true)
  t.strictSame(await ask(databaseUrl, 'select status from messages order by created_at'), [{ status: 'complete' }, { status: 'failed' }])
})

test('a handler that answers well leaves its message to whoever produces it later', async (t) => {
  const { url, databaseUrl, messages } = await askHandler(t, () => ({ accepted: true }))
  t.equal((await fetch(`${url}/ask`, { method: 'POST' })).status, 200)
  const [message] = messages
  t.equal(await message?.record('answer', {}), true)
  t.equal(await message?.end(), true)
  t.equal(await statusOf(databaseUrl, message?.messageId ?? ''), 'complete')
})
