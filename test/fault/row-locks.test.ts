import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { collectAnswers, keepRecording } from '../helper/answers.js'
import { startApp } from '../helper/app.js'
import { ask, eventsOf, makeMessage, statusOf } from '../helper/journal.js'
import { holdLock, untilQuiet } from '../helper/locks.js'
import { connect, ids } from '../helper/sse.js'

/** Two processes judge the messages often. */
const LIMITS = { writeRetryMs: 600, maxDoubtMs: 30_000, heartbeatMs: 200, producerIdleMs: 1_500, reconcileMs: 200 }
/** Messages that nobody locks; half of them live by heartbeats alone. */
const FREE = 6
const LOCK_MS = 2 * LIMITS.producerIdleMs

/** What holds a message's row, and whether that keeps an UPDATE of `last_no` waiting. */
const LOCKS: Array<[what: string, sql: string, stops: boolean]> = [
  ['FOR UPDATE', 'select from messages where message_id = $1 for update', true],
  ['FOR NO KEY UPDATE', 'select from messages where message_id = $1 for no key update', true],
  ['FOR SHARE', 'select from messages where message_id = $1 for share', true],
  ['FOR KEY SHARE', 'select from messages where message_id = $1 for key share', false],
  ['another program\'s INSERT', "insert into message_events (message_id, sequence_no, event_type) values ($1, 1000000, 'foreign')", true]
]

t.jobs = 2 // most of the time they wait

for (const place of ['lower', 'higher'] as const) {
  t.test(`rows with ${place} ids than others are locked for longer than producerIdleMs: the others go on, and nobody is ended`, { buffered: true }, async (t) => {
    const { app, url, databaseUrl, lines } = await startApp(t, LIMITS)
    const judge = await startApp(t, { ...LIMITS, databaseUrl, migrate: false })
    const messages = await Promise.all(Array.from({ length: LOCKS.length + FREE }, async () => await app.journal.openMessage({ userId: 'ada' })))
    messages.sort((a, b) => (a.messageId < b.messageId) === (place === 'lower') ? -1 : 1)
    const unleased = await makeMessage(databaseUrl)
    const messageIds = [...messages.map(({ messageId }) => messageId), unleased]
    const readers = await Promise.all(messageIds.map(async (messageId) => await connect(t, `${judge.url}/api/messages/${messageId}/events`)))
    const answers = collectAnswers(databaseUrl, lines)
    t.ok((await Promise.all([...messages.map(answers.record), answers.recordEvent(app, unleased)])).every((recorded) => recorded))

    const recordings = [
      ...messages.slice(0, -FREE / 2).map((message) => keepRecording(async () => await answers.record(message), 2, 50)),
      keepRecording(async () => await answers.recordEvent(app, unleased), 2, 50)
    ]
    const locks = await Promise.all(LOCKS.map(async ([, sql], index) => await holdLock(t, databaseUrl, sql, [messageIds[index]])))
    await delay(LOCK_MS) // the length of the locks is the fault
    t.same(await answers.wrong(), [])
    for (const lock of locks) await lock.release()
    await Promise.all(recordings.map(async (stop) => { await stop() }))

    const refused = messageIds.map((id) => answers.given.filter(({ messageId, recorded }) => messageId === id && !recorded).length)
    for (const [index, [what, , stops]] of LOCKS.entries()) t.equal(Number(refused[index]) > 0, stops, `${what}: ${refused[index]} events were refused`)
    t.same(refused.slice(LOCKS.length), messageIds.slice(LOCKS.length).map(() => 0), 'no event of another message was refused')
    t.same(messages.filter(({ signal }) => signal.aborted), [], 'every lease is kept')
    t.same(await Promise.all(messageIds.map(async (messageId) => await statusOf(databaseUrl, messageId))), messageIds.map(() => 'streaming'))

    t.ok((await Promise.all(messages.map(answers.record))).every((recorded) => recorded), 'all of them go on')
    t.ok((await Promise.all(messages.map(async (message) => await message.end()))).every((ended) => ended))
    t.equal(await app.journal.recordEvent(unleased, 0, 'end', { type: 'end' }), true)
    await untilQuiet(databaseUrl)
    t.same(await answers.wrong(), [])
    t.equal(answers.unknown().size, 0)
    t.same(await ask(databaseUrl, "select from message_events where event_type = 'error'"), [], 'no producer was taken for dead')
    for (const [index, messageId] of messageIds.entries()) {
      const rows = (await eventsOf(databaseUrl, messageId)).map(({ sequenceNo }) => String(sequenceNo))
      const late = await connect(t, `${url}/api/messages/${messageId}/events`)
      for (const reader of [readers[index], late]) {
        await reader?.ended
        t.same(reader && ids(reader).filter((id) => id !== undefined), rows)
      }
    }
  })
}
