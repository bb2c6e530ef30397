import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { test } from 'tap'
import type { DemoState } from '../../demo/supervisor.js'
import { createTestDatabase } from '../helper/database.js'
import { cookieOf } from '../helper/demo.js'
import { listenOnFreePort } from '../helper/free-port.js'

const redisUrl = process.env['TEST_REDIS_URL'] ?? ''
const sessionSecret = 's'.repeat(32)

/** `npm start` without npm. The process is gone at the latest when the test is. */
function start (t: Test, env: NodeJS.ProcessEnv) {
  const { DATABASE_URL, REDIS_URL, PORT, ...inherited } = process.env
  const child = spawn(process.execPath, [fileURLToPath(new URL('../../demo/start.js', import.meta.url))], {
    env: { ...inherited, DEMO_DATA_DIR: join(tmpdir(), 'never-made'), ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => child.kill('SIGKILL'))
  const exit = once(child, 'close')
  const stderr = text(child.stderr)
  let stdout = ''
  const said = (pattern: RegExp) => new Promise<RegExpExecArray>((resolve, reject) => {
    const look = (): void => {
      const match = pattern.exec(stdout)
      if (match) resolve(match)
    }
    child.stdout.on('data', look)
    child.once('close', () => reject(new Error(`the demo ended without saying ${pattern}: ${stdout}`)))
    look()
  })
  child.stdout.setEncoding('utf8').on('data', (data) => { stdout += data })
  return { child, said, ended: async () => ({ code: (await exit)[0], stdout, stderr: await stderr }) }
}

async function listen (t: Test, server: Server): Promise<number> {
  t.teardown(() => { server.close() })
  return await listenOnFreePort(server)
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`the demo says what it runs on, serves its page, and ends cleanly at ${signal}`, async (t) => {
    const databaseUrl = await createTestDatabase(t)
    const demo = start(t, { DATABASE_URL: databaseUrl, REDIS_URL: redisUrl, PORT: '0', SESSION_SECRET: sessionSecret })
    const [, url = ''] = await demo.said(/^Open +(\S+)$/m)
    const page = await fetch(url)
    t.equal(page.status, 200)
    t.match(await page.text(), /<title>fastify-message-journal<\/title>/)
    const { workers } = await (await fetch(`${url}api/demo`, { headers: { cookie: cookieOf(page) } })).json() as DemoState
    t.same(workers.map(({ worker }) => worker), [1, 2])

    demo.child.kill(signal)
    const { code, stdout, stderr } = await demo.ended()
    t.equal(code, 0)
    t.equal(stderr, '')
    for (const { pid } of workers) t.throws(() => process.kill(pid, 0), { code: 'ESRCH' }, 'no worker is left')
    await t.rejects(fetch(url))
    t.match(stdout, /^Postgres: \S+ \(DATABASE_URL\)$/m)
    t.match(stdout, /^Redis: {4}\S+ \S+ at \S+ \(REDIS_URL\)$/m)
    t.match(stdout, /^Answers: {2}bundled public-domain passages, 40 tokens a second/m)
  })
}

test('a signal that comes before the demo has started ends it as cleanly', async (t) => {
  const { hostname, port } = new URL(redisUrl)
  const redis = createServer((socket) => {
    demo.child.kill('SIGINT')
    const real = connect(Number(port), hostname)
    pipeline(socket, real, socket).catch(() => {})
  })
  const proxyPort = await listen(t, redis)
  const demo = start(t, {
    DATABASE_URL: await createTestDatabase(t), REDIS_URL: `redis://127.0.0.1:${proxyPort}`, PORT: '0', SESSION_SECRET: sessionSecret
  })
  const { code, stdout, stderr } = await demo.ended()
  t.equal(code, 0)
  t.equal(stderr, '')
  t.match(stdout, /\nStopping …\n$/)
  t.notMatch(stdout, /^Open/m)
})

test('a wrong setting ends the start with one clear line', async (t) => {
  const { code, stdout, stderr } = await start(t, { TOKENS_PER_SECOND: 'abc' }).ended()
  t.equal(code, 1)
  t.equal(stdout, '')
  t.equal(stderr, 'The demo could not start: TOKENS_PER_SECOND must be a number above 0, not "abc"\n')
})
