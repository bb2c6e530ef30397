import cluster from 'node:cluster'
import { once } from 'node:events'
import { randomUUID } from 'node:crypto'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createPeer, type Handlers, type Peer } from './peer.js'
import type { PrimaryCalls, WorkerCalls, WorkerSettings } from './protocol.js'

/** A worker as the primary has it. */
export interface WorkerProcess extends Peer<WorkerCalls> {
  readonly pid: number
  readonly worker: number
  readonly producer: string
  /** It takes requests. */
  ready: boolean
  /** Resolves with how it ended: a signal or an exit code. Never rejects. */
  readonly exited: Promise<string>
  kill (): void
}

// The workers accept connections themselves. Were they handed over by the primary, one that is under way to a worker
// that is killed would stay open, and be answered by nobody.
cluster.schedulingPolicy = cluster.SCHED_NONE

/** TypeScript, with this process's own loader, or what it was compiled to. */
const script = fileURLToPath(new URL(`./worker${extname(import.meta.url)}`, import.meta.url))

/** Forks a worker and tells it to build its app: `built` says how that went. */
export function forkWorker (worker: number, settings: Omit<WorkerSettings, 'self'>, handlers: Handlers<Omit<PrimaryCalls, 'hello'>>): WorkerProcess & { built: Promise<void> } {
  cluster.setupPrimary({ exec: script, args: [] })
  const producer = randomUUID()
  const child = cluster.fork()
  const exited = once(child.process, 'exit').then(([code, signal]) => String(signal ?? `exit code ${code}`))
  let hear: () => void
  const heard = new Promise<void>((resolve) => { hear = resolve })
  const { call } = createPeer<WorkerCalls, PrimaryCalls>(child.process, { ...handlers, hello: () => { hear() } })

  async function build (): Promise<void> {
    await Promise.race([heard, exited.then((how) => { throw new Error(`worker ${worker} ended before it was ready: ${how}`) })])
    await call('build', { ...settings, self: { worker, producer } })
  }

  return {
    pid: Number(child.process.pid), // a fork that fails has none, and says so by `exited`
    worker,
    producer,
    ready: false,
    exited,
    call,
    built: build(),
    kill: () => { child.process.kill('SIGKILL') }
  }
}
