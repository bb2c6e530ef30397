import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { test } from 'tap'
import { startPostgres } from '../../servers/postgres.js'
import { startApp } from '../helper/app.js'
import { listen, observe } from '../helper/writing.js'

test('a Postgres that is stopped and started, and killed and started, under load loses and doubles nothing', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'journal-restart-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const server = await startPostgres({ dataDir: join(folder, 'data'), settings: { max_connections: '50' } })
  t.teardown(() => server.stop())
  const { app } = await startApp(t, { databaseUrl: server.url, writeRetryMs: 60_000 })
  const messages = await Promise.all(Array.from({ length: 8 }, () => app.journal.openMessage({ userId: 'ada' })))
  const topics = await listen(t, app, ...messages.map(({ messageId }) => messageId))

  const stopped = new AbortController()
  const recorded: Array<Promise<boolean>> = []
  const written = messages.map(async (message) => {
    let n = 0
    while (!stopped.signal.aborted) {
      const result = message.record('answer', { n: n++ })
      recorded.push(result)
      if (n % 10 === 0) await result
      else await turn()
    }
    recorded.push(message.end())
    return n
  })
  await recorded[20]
  await server.stop()
  await server.start()
  await recorded.at(-1)
  await server.kill()
  await server.start()
  await recorded.at(-1)
  stopped.abort()

  const counts = await Promise.all(written)
  t.ok((await Promise.all(recorded)).every(Boolean), `${recorded.length} events, all recorded`)
  const database = await observe(t, server.url)
  await topics.flushed()
  for (const [index, { messageId }] of messages.entries()) {
    const numbers = Array.from({ length: counts[index] ?? 0 }, (_, n) => n)
    const rows = await database.rows(messageId)
    t.strictSame(rows.map((row) => JSON.parse(row.payload).n ?? 'end'), [...numbers, 'end'])
    t.match(await database.message(messageId), { status: 'complete' })
    const published = topics.envelopes.filter((envelope) => envelope.message_id === messageId)
    t.strictSame(published.map((envelope) => envelope.sequence_no), rows.map((row) => row.sequence_no))
    t.ok(published.every(({ committed }) => committed !== false))
  }
})
