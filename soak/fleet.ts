import { freePort } from '../servers/server-process.js'
import { startChild, type Child } from './children.js'
import type { FromApp, ToApp } from './wire.js'

export interface Memory {
  rssBytes: number
  heapBytes: number
}

/** The app processes, each on a port of its own that its successor takes over. */
export interface Fleet {
  readonly urls: string[]
  /** The slots whose app runs. */
  readonly live: ReadonlySet<number>
  send (slot: number, message: ToApp): void
  /** SIGKILL, and a new process. */
  kill (slot: number): Promise<void>
  /** `app.close()`, and a new app in the same process. */
  restart (slot: number): Promise<void>
  measure (slot: number): Promise<Memory>
  /** How often a process ended that nobody had killed. */
  readonly crashes: number
  close (): Promise<void>
}

export interface FleetOptions {
  size: number
  databaseUrl: string
  redisUrl: string
  onReport: (slot: number, report: FromApp) => void
}

export async function startFleet ({ size, databaseUrl, redisUrl, onReport }: FleetOptions): Promise<Fleet> {
  const ports: number[] = []
  const apps: Array<Child<ToApp>> = []
  const live = new Set<number>()
  const waiting = new Map<string, (report: FromApp) => void>()
  let crashes = 0
  let closing = false

  async function start (slot: number): Promise<void> {
    const app = await startChild<ToApp, FromApp>('./app.ts', [String(ports[slot]), databaseUrl, redisUrl], (report) => {
      waiting.get(`${slot} ${report.type}`)?.(report)
      onReport(slot, report)
    })
    apps[slot] = app
    live.add(slot)
    app.exited.then((how) => {
      if (how === 'SIGKILL' || closing) return
      console.error(`app ${slot + 1} ended by itself: ${how}`)
      crashes++
      live.delete(slot)
    })
  }

  /** Resolves with the answer; with nothing when the process ends first. */
  async function ask (slot: number, message: ToApp, answer: FromApp['type']): Promise<FromApp | undefined> {
    return await new Promise((resolve) => {
      waiting.set(`${slot} ${answer}`, resolve)
      apps[slot]?.send(message)
      apps[slot]?.exited.then(() => { resolve(undefined) })
    })
  }

  for (let slot = 0; slot < size; slot++) {
    ports.push(await freePort())
    await start(slot)
  }
  return {
    urls: ports.map((port) => `http://127.0.0.1:${port}`),
    live,
    send (slot, message) { apps[slot]?.send(message) },
    async kill (slot) {
      live.delete(slot)
      await apps[slot]?.kill()
      await start(slot)
    },
    async restart (slot) {
      live.delete(slot)
      await ask(slot, { type: 'restart' }, 'ready')
      live.add(slot)
    },
    async measure (slot) {
      const report = await ask(slot, { type: 'measure' }, 'memory')
      return report?.type === 'memory' ? report : { rssBytes: 0, heapBytes: 0 }
    },
    get crashes () { return crashes },
    async close () {
      closing = true
      await Promise.all(apps.map(async (app) => { await app.kill() }))
    }
  }
}
