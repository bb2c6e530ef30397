import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { test } from 'tap'
import { readConfig } from '../../demo/config.js'
import { runDemo } from '../../demo/run.js'
import { createTestDatabase } from '../helper/database.js'
import { addressOf, allFramesOf, ask, cookieOf, eventsOf, framesOf, next, textOf } from '../helper/demo.js'
import { listenOnFreePort } from '../helper/free-port.js'

const redisUrl = process.env['TEST_REDIS_URL'] ?? ''
const sessionSecret = 's'.repeat(32)

/** A folder of this run's own: two runs of the tests at once must not share a Postgres. */
async function makeDataDir (t: Test): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), 'journal-demo-'))
  t.teardown(() => rm(dataDir, { recursive: true, force: true }))
  return dataDir
}

async function listen (t: Test, server: Server): Promise<number> {
  t.teardown(() => { server.close() })
  return await listenOnFreePort(server)
}

test('a port that is taken is an error when it was asked for, and else the next free one is used', async (t) => {
  const port = await listen(t, createServer())
  const config = { ...readConfig({ DATABASE_URL: await createTestDatabase(t), REDIS_URL: redisUrl, SESSION_SECRET: sessionSecret, LOG_LEVEL: 'silent' }), port }
  await t.rejects(runDemo({ ...config, portIsFixed: true }, () => {}), { code: 'EADDRINUSE' })

  const demo = await runDemo(config, () => {})
  t.teardown(demo.close)
  t.ok(Number(new URL(demo.url).port) > port)
  const page = await fetch(demo.url)
  t.equal(page.status, 200)
  await page.body?.cancel()
})

test('a Redis or Postgres that cannot be reached ends the start and says which and why', async (t) => {
  const closed = 'redis://user:secret@127.0.0.1:1'
  const databaseUrl = await createTestDatabase(t)
  await t.rejects(runDemo(readConfig({ DATABASE_URL: databaseUrl, REDIS_URL: closed }), () => {}), {
    message: 'Redis at 127.0.0.1:1 (REDIS_URL) cannot be used: connect ECONNREFUSED 127.0.0.1:1'
  })
  await t.rejects(runDemo(readConfig({ DATABASE_URL: 'postgres://u:secret@127.0.0.1:1/d', REDIS_URL: redisUrl, SESSION_SECRET: sessionSecret, LOG_LEVEL: 'silent' }), () => {}), {
    message: /ECONNREFUSED/
  })
})

test('with nothing given it brings its own Postgres and Redis, and an answer in the middle survives a restart', async (t) => {
  const config = { ...readConfig({ TOKENS_PER_SECOND: '100', DEMO_DATA_DIR: await makeDataDir(t), LOG_LEVEL: 'silent' }), port: 0 }
  const lines: string[] = []
  const say = (line: string): void => { lines.push(line) }

  const first = await runDemo(config, say)
  t.teardown(first.close)
  t.match(lines.filter((line) => !line.startsWith('Page:')), [/^Postgres: embedded, port \d+, data in /, /^Redis: {4}(redis-server|valkey-server|js-redis-server), port \d+$/, /^Answers: /])
  const asked = await ask(first.url.slice(0, -1), { prompt: 'Call me Ishmael' })
  await next(framesOf(asked), 20)
  await first.close()
  await first.close()

  const second = await runDemo(config, say)
  t.teardown(second.close)
  const replay = await fetch(addressOf(second.url.slice(0, -1), asked), { headers: { cookie: cookieOf(asked) } })
  t.equal(replay.status, 200)
  const frames = await allFramesOf(replay)
  t.match(textOf(frames), /Call me Ishmael\. Some years ago/)
  t.same(eventsOf(frames).map(({ id }) => id), frames.map((_, index) => index))
  t.match(frames.at(-1), /"type":"end","reason":"complete"/)
})
