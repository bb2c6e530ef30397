import pg from 'pg'
import type { Test } from 'tap'
import { test } from 'tap'
import { supervise } from '../../demo/cluster/supervise.js'
import { foreignRedis, ownRedis } from '../../demo/redis-control.js'
import { freePort } from '../../servers/server-process.js'
import type { DemoState } from '../../demo/supervisor.js'
import { createTestDatabase } from '../helper/database.js'
import { openSession, redisUrl, sessionSecret } from '../helper/demo.js'
import { ownRedis as startOwnRedis } from '../helper/servers.js'

async function startWorkers (t: Test, databaseUrl: string, hear: (line: string) => void = () => {}) {
  const port = await freePort()
  const lines: string[] = []
  const workers = await supervise({
    settings: { databaseUrl, redisUrl, sessionSecret, openai: undefined, tokensPerSecond: 40, logLevel: 'silent', pageFolder: t.testdir() },
    range: { host: '127.0.0.1', port, last: port },
    redis: foreignRedis('redis-server'),
    exclusive: true,
    mostFailures: 3,
    say: (line) => {
      lines.push(line)
      hear(line)
    }
  })
  t.teardown(workers.close)
  return { ...workers, lines }
}

test('a worker that cannot be started again is tried again, but not for ever, and the reason is told', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const { url, failed, close, lines } = await startWorkers(t, databaseUrl)
  const cookie = await openSession(url.slice(0, -1))
  const state = await (await fetch(`${url}api/demo`, { headers: { cookie, connection: 'close' } })).json() as DemoState
  t.equal(state.workers.length, 2)
  t.same(state.redis, { kind: 'redis-server', running: true, controllable: false })

  const client = new pg.Client(databaseUrl)
  await client.connect()
  await client.query('drop schema public cascade')
  await client.end()
  process.kill(state.workers[0]?.pid ?? 0, 'SIGKILL')
  const error = await failed
  t.match(error.message, /^worker 1 could not be started again, 3 times: .*schema/)
  t.match(lines, [/^Worker 1 \(process \d+\) is gone: SIGKILL\. Starting another one\.$/])
  await close()
  await t.rejects(fetch(url))
})

test('a worker that dies while the demo ends is not replaced', async (t) => {
  let close = async (): Promise<void> => {}
  let hear = (): void => {}
  const closed = new Promise<void>((resolve, reject) => {
    hear = () => { close().then(resolve, reject) }
  })
  const workers = await startWorkers(t, await createTestDatabase(t), () => { hear() })
  close = workers.close
  const cookie = await openSession(workers.url.slice(0, -1))
  const { pid } = await (await fetch(`${workers.url}api/stats`, { headers: { cookie, connection: 'close' } })).json() as { pid: number }
  process.kill(pid, 'SIGKILL')
  await closed
  t.equal(workers.lines.length, 1)
  await t.rejects(fetch(workers.url))
})

test('workers that cannot start at all are an error at once, and nothing is left', async (t) => {
  await t.rejects(startWorkers(t, 'postgres://127.0.0.1:1/none'), { message: 'connect ECONNREFUSED 127.0.0.1:1', code: 'ECONNREFUSED' })
})

test('a Redis of the demo\'s own does what it is asked, one thing after the other', async (t) => {
  const server = await startOwnRedis(t)
  const redis = ownRedis(server)
  t.match(redis.state(), { running: true, controllable: true })
  t.same(await Promise.all([redis.set(false), redis.set(true), redis.set(false)]), [false, true, false])
  t.equal(redis.state().running, false)

  const broken = ownRedis({ ...server, start: async () => { throw new Error('no memory') } })
  await t.rejects(broken.set(true), { message: 'no memory' })
  t.equal(await broken.set(false), false, 'and goes on after that')
  t.equal(await foreignRedis('redis-server').set(false), true)
})
