import type { Test } from 'tap'
import { readConfig } from '../../demo/config.js'
import { runDemo } from '../../demo/run.js'
import type { DemoState } from '../../demo/supervisor.js'
import { createTestDatabase } from './database.js'
import { eventsOf, framesOf, redisUrl, sessionSecret } from './demo.js'
import { eventually } from './journal.js'

export interface DemoCluster {
  /** Without a slash at the end. */
  url: string
  stateOf (cookie: string): Promise<DemoState>
  /** Resolves when two workers take requests. */
  bothWorkers (cookie: string): Promise<void>
  /** Resolves when the worker is gone, and another one has its place. */
  replaced (cookie: string, pid: number): Promise<void>
  /** Reads on behind `frames`, as often as the connection is cut, until the end; resolves with all of them. */
  readOn (cookie: string, address: string, frames: string[]): Promise<string[]>
}

/** The demo with its workers; `env` as for `npm start`. Closed after the test. */
export async function startDemoCluster (t: Test, env: NodeJS.ProcessEnv = {}): Promise<DemoCluster> {
  const demo = await runDemo({
    ...readConfig({ DATABASE_URL: await createTestDatabase(t), REDIS_URL: redisUrl, SESSION_SECRET: sessionSecret, LOG_LEVEL: 'silent', TOKENS_PER_SECOND: '100', ...env }), port: 0
  }, () => {})
  t.teardown(demo.close)
  const url = demo.url.slice(0, -1)

  /** A connection of its own: one that is kept may lead to a worker that has just been killed. */
  const stateOf = async (cookie: string): Promise<DemoState> => {
    const response = await fetch(`${url}/api/demo`, { headers: { cookie, connection: 'close' } })
    return await response.json() as DemoState // the route's
  }
  const workersAre = async (cookie: string, condition: (pids: number[]) => boolean) => await eventually(async () => {
    const { workers } = await stateOf(cookie).catch(() => ({ workers: [] }))
    return condition(workers.map(({ pid }) => pid))
  })

  return {
    url,
    stateOf,
    bothWorkers: (cookie) => workersAre(cookie, ({ length }) => length === 2),
    replaced: (cookie, pid) => workersAre(cookie, (pids) => pids.length === 2 && !pids.includes(pid)),
    async readOn (cookie, address, frames) {
      while (eventsOf(frames.slice(-1))[0]?.type !== 'end') {
        const last = eventsOf(frames.slice(-1))[0]?.id
        try {
          const response = await fetch(address, { headers: { cookie, ...last !== undefined && { 'last-event-id': String(last) } } })
          if (response.status !== 200) throw new Error(`the demo answered ${response.status}`)
          for await (const frame of framesOf(response)) frames.push(frame)
        } catch (error) {
          if (!(error instanceof TypeError)) throw error // fetch's own: the worker is gone
        }
      }
      return frames
    }
  }
}
