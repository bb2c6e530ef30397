import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { collectAnswers, keepRecording } from '../helper/answers.js'
import { startApp } from '../helper/app.js'
import { startAppProcess } from '../helper/app-process.js'
import { ask, eventsOf, eventually, makeMessage, statusOf } from '../helper/journal.js'
import { untilQuiet } from '../helper/locks.js'
import { ownFolder, ownPostgres } from '../helper/servers.js'
import { connect, ids } from '../helper/sse.js'

const TIMES = { heartbeatMs: 300, producerIdleMs: 3_000, reconcileMs: 300 }
/** Long enough for a judge who trusts the clock. */
const JUDGED_MS = 2 * TIMES.producerIdleMs
const STALE = { type: 'error', code: 'producer_stale' }
/** One after the other: by how many seconds the server's clock is wrong. */
const STEPS = [120, 3_600, 0, -120, -3_600, 0]

/** Debian's package faketime puts it in a folder of the machine's architecture. */
async function findFaketime (): Promise<string | null> {
  for (const folder of await readdir('/usr/lib').catch(() => [])) {
    const files: string[] = await readdir(join('/usr/lib', folder, 'faketime')).catch(() => [])
    if (files.includes('libfaketime.so.1')) return join('/usr/lib', folder, 'faketime', 'libfaketime.so.1')
  }
  return null
}

const library = await findFaketime()

t.test('the clock of Postgres steps either way', { skip: library === null ? 'libfaketime is not installed (Debian: faketime)' : false }, async (t) => {
  const file = join(await ownFolder(t, 0o755), 'clock')
  const setClock = async (seconds: number) => { await writeFile(file, `${seconds < 0 ? '' : '+'}${seconds}\n`) }
  await setClock(0)
  const server = await ownPostgres(t, {
    env: { LD_PRELOAD: library ?? '', FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1' }
  })
  const [before] = await ask<{ now: Date }>(server.url, 'select now()')
  const { app, lines } = await startApp(t, { ...TIMES, databaseUrl: server.url })
  const judge = await startApp(t, { ...TIMES, databaseUrl: server.url, migrate: false })
  const [recording, silent] = await Promise.all([1, 2].map(async () => await Promise.all([1, 2, 3].map(async () => await app.journal.openMessage({ userId: 'ada' })))))
  if (recording === undefined || silent === undefined || before === undefined) throw new Error('no messages')
  const unleased = await makeMessage(server.url)
  const messageIds = [...recording, ...silent].map(({ messageId }) => messageId).concat(unleased)
  const readers = await Promise.all(messageIds.map(async (messageId) => await connect(t, `${judge.url}/api/messages/${messageId}/events`)))
  const answers = collectAnswers(server.url, lines)
  t.ok((await Promise.all(silent.map(answers.record))).every((recorded) => recorded), 'their leases are renewed from now on')
  const recordings = [
    ...recording.map((message) => keepRecording(async () => await answers.record(message), 1, 100)),
    keepRecording(async () => await answers.recordEvent(app, unleased), 1, 100)
  ]

  await t.test('nobody who lives is ended', async (t) => {
    for (const seconds of STEPS) {
      await setClock(seconds)
      const [row] = await ask<{ now: Date }>(server.url, 'select now()')
      t.ok(Math.abs((Number(row?.now) - Date.now()) / 1_000 - seconds) < 60, `the clock is wrong by ${seconds} s`)
      await delay(JUDGED_MS) // in which a judge would judge
      t.same(await Promise.all(messageIds.map(async (messageId) => await statusOf(server.url, messageId))), messageIds.map(() => 'streaming'))
      t.same([...recording, ...silent].filter(({ signal }) => signal.aborted), [])
    }
  })

  // What it has recorded stands in the future for so long, and counts as a sign of life
  for (const seconds of [120, -20]) {
    await t.test(`a producer that dies before the clock steps by ${seconds} s is found to be dead`, async (t) => {
      const redisUrl = process.env.TEST_REDIS_URL ?? ''
      const producer = await startAppProcess(t, { ...TIMES, databaseUrl: server.url, redisUrl })
      const { messageId } = await producer.ask<{ messageId: string }>('/produce', { everyMs: 50 })
      const reader = await connect(t, `${judge.url}/api/messages/${messageId}/events`)
      await eventually(async () => (await eventsOf(server.url, messageId)).length > 3)
      await producer.kill()
      await setClock(seconds)
      await reader.ended
      t.match(JSON.parse(reader.events.at(-1)?.data ?? ''), STALE)
      await setClock(0)
    })
  }

  await Promise.all(recordings.map(async (stop) => { await stop() }))
  t.notOk(answers.given.some(({ recorded }) => !recorded), 'each event was recorded')
  t.ok((await Promise.all([...recording, ...silent].map(async (message) => await message.end()))).every((ended) => ended))
  t.equal(await app.journal.recordEvent(unleased, 0, 'end', { type: 'end' }), true)
  await untilQuiet(server.url)
  t.same(await answers.wrong(), [])
  for (const [place, messageId] of messageIds.entries()) {
    await readers[place]?.ended
    t.same(readers[place] && ids(readers[place]), (await eventsOf(server.url, messageId)).map(({ sequenceNo }) => String(sequenceNo)))
  }
})
