import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { MessageJournalOptions } from '../../plugin/index.js'
import type { Teardown } from './database.js'
import { plainNode } from './plain-node.js'

export interface AppProcess {
  url: string
  pid: number
  /** SIGKILL; resolves when the process is gone. */
  kill (): Promise<void>
  /** The answer of one of its own routes. Rejects unless it is a 200. */
  ask<T> (path: string, body?: object): Promise<T>
}

const SCRIPT = fileURLToPath(new URL('../fault/app-process.js', import.meta.url))

/** Starts test/fault/app-process.ts, with this release or with another one's `plugin`; killed after the test, and at the end of our process. */
export async function startAppProcess (t: Teardown, options: Partial<MessageJournalOptions> & { databaseUrl: string, redisUrl: string, takesOver?: boolean, plugin?: string }): Promise<AppProcess> {
  const child = spawn(...plainNode('--expose-gc', SCRIPT), {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH, APP_OPTIONS: JSON.stringify(options) }
  })
  const exited = once(child, 'exit')
  const kill = async () => {
    child.kill('SIGKILL')
    await exited
  }
  t.teardown(kill)
  const [url] = await Promise.race([
    once(createInterface(child.stdout), 'line'),
    exited.then(() => { throw new Error('the app ended before it listened') })
  ]) as [string]
  return {
    url,
    pid: child.pid ?? 0, // it has written a line
    kill,
    async ask (path, body) {
      const response = await fetch(url + path, body === undefined
        ? {}
        : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
      if (response.status !== 200) throw new Error(`${path}: ${response.status} ${await response.text()}`)
      return await response.json() as never // the routes are app-process.ts' own
    }
  }
}
