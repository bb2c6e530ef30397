import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { createTestDatabase } from '../helper/database.js'
import { plainNode } from '../helper/plain-node.js'

const script = fileURLToPath(new URL('../../demo/start.js', import.meta.url))

/** `npm start`, on a database of the test's own and a private Redis. Resolves with the page's address. It is gone when the test is. */
export async function startDemo (t: Test, tokensPerSecond: number): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), 'journal-browser-'))
  t.teardown(() => rm(dataDir, { recursive: true, force: true }))
  const { REDIS_URL, OPENAI_BASE_URL, ...env } = process.env
  const child = spawn(...plainNode(script), { // other tests reach its lines, in less time
    env: {
      ...env,
      DATABASE_URL: await createTestDatabase(t),
      PORT: '0',
      HOST: '127.0.0.1',
      DEMO_DATA_DIR: dataDir,
      LOG_LEVEL: 'fatal',
      TOKENS_PER_SECOND: String(tokensPerSecond)
    },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const exit = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGTERM')
    await exit
  })
  let said = ''
  for await (const text of child.stdout.setEncoding('utf8').iterator({ destroyOnReturn: false })) {
    said += String(text)
    const [, url] = /^Open +(\S+)$/m.exec(said) ?? []
    if (url !== undefined) {
      child.stdout.resume()
      return url
    }
  }
  throw new Error(`The demo did not start: ${said}`)
}
