import { setTimeout as delay } from 'node:timers/promises'
import type { RedisControl } from '../redis-control.js'
import type { Handlers } from './peer.js'
import type { PortRange, PrimaryCalls, WorkerSettings } from './protocol.js'
import { forkWorker, type WorkerProcess } from './worker-process.js'

export interface SuperviseOptions {
  settings: Omit<WorkerSettings, 'self'>
  range: PortRange
  redis: RedisControl
  say: (line: string) => void
  /** Nobody else uses the database: what stands in it as unfinished was left by an earlier run, and is gone on with. */
  exclusive: boolean
  /** How often a worker may fail to start again, one time after the other. */
  mostFailures?: number
}

export interface Supervision {
  /** Where the workers listen. */
  url: string
  /** Settles, with the reason, only if a worker cannot be started again. */
  failed: Promise<Error>
  /** Ends the workers. */
  close (): Promise<void>
}

const stopTimeoutMs = 5_000
/** A worker that does not live as long as this is not replaced at once. */
const shortLifeMs = 1_000
const firstBackoffMs = 250
const mostBackoffMs = 5_000
/** Before work that could not be gone on with is tried again. */
const retryMs = 250

/**
 * Two workers behind one port. One that dies, in whatever way, is replaced, and what it was at is gone on with by one
 * that lives. Rejects when they cannot be started, and nothing is left running then.
 */
export async function supervise ({ settings, range, redis, say, exclusive, mostFailures = 6 }: SuperviseOptions): Promise<Supervision> {
  const living = new Set<WorkerProcess>()
  const orphans = new Set<string>()
  const closing = new AbortController()
  let fail: (error: Error) => void
  const failed = new Promise<Error>((resolve) => { fail = resolve })
  let adopting: Promise<void> | undefined

  const find = (producer: string) => [...living].find((worker) => worker.producer === producer)
  const handlers: Handlers<Omit<PrimaryCalls, 'hello'>> = {
    async leave (producer) {
      for (const worker of living) worker.ready &&= worker.producer !== producer
      orphans.add(producer)
      adopt()
      await adopting
    },
    state: () => ({
      workers: [...living].filter(({ ready }) => ready).map(({ pid, worker }) => ({ pid, worker })).sort((a, b) => a.worker - b.worker),
      redis: redis.state()
    }),
    pidOf: (producer) => find(producer)?.pid,
    kill: (producer) => { find(producer)?.kill() },
    setRedis: (running) => redis.set(running)
  }

  function fork (place: number) {
    const worker = forkWorker(place, settings, handlers)
    living.add(worker)
    worker.exited.then(() => {
      living.delete(worker)
      orphans.add(worker.producer)
      adopt()
    })
    return worker
  }

  /** The first worker chooses the port, and all that follow share it. */
  async function open (worker: WorkerProcess, at: PortRange): Promise<{ url: string, port: number }> {
    const where = await worker.call('listen', at)
    worker.ready = true
    adopt()
    return where
  }

  function adopt (): void { adopting ??= adoptAll() }

  /** One at a time; a worker that dies over it, or cannot, has it tried again by the next. */
  async function adoptAll (): Promise<void> {
    await null // `adopting` is this call first
    for (let heir = anyReady(); heir !== undefined && orphans.size > 0 && !closing.signal.aborted; heir = anyReady()) {
      const producers = [...orphans]
      try {
        await heir.call('adopt', producers)
        for (const producer of producers) orphans.delete(producer)
      } catch (error) {
        say(`Worker ${heir.worker} could not go on with another one's work: ${messageOf(error)}`)
        await pause(retryMs)
      }
    }
    adopting = undefined // in the turn in which nothing was left: whoever comes next calls again
  }

  async function adoptEarlier (heir: WorkerProcess): Promise<void> {
    const found = await heir.call('findOrphans', [...living].map(({ producer }) => producer))
    for (const producer of found) orphans.add(producer)
    adopt()
  }

  const anyReady = () => [...living].find(({ ready }) => ready)
  const pause = async (ms: number) => { await delay(ms, undefined, { signal: closing.signal }).catch(() => {}) }

  /** Keeps a place filled. Never a fork bomb: what dies young is replaced later each time, and in the end not at all. */
  async function keep (first: WorkerProcess, shared: PortRange): Promise<void> {
    let worker: WorkerProcess | null = first
    let failures = 0
    while (worker !== null) {
      const readyAt = performance.now()
      const how = await worker.exited
      if (closing.signal.aborted) return
      failures = performance.now() - readyAt < shortLifeMs ? failures + 1 : 0
      say(`Worker ${worker.worker} (process ${worker.pid}) is gone: ${how}. Starting another one.`)
      worker = await replace(worker.worker, failures, shared)
    }
  }

  async function replace (place: number, failures: number, shared: PortRange): Promise<WorkerProcess | null> {
    for (;;) {
      if (failures > 1) await pause(Math.min(firstBackoffMs * 2 ** (failures - 2), mostBackoffMs))
      if (closing.signal.aborted) return null
      const worker = fork(place)
      try {
        await worker.built
        await open(worker, shared)
        return worker
      } catch (error) {
        worker.kill()
        const how = await worker.exited
        if (++failures < mostFailures) continue
        fail(new Error(`worker ${place} could not be started again, ${failures} times: ${messageOf(error)} (${how})`))
        return null
      }
    }
  }

  async function close (): Promise<void> {
    closing.abort()
    await Promise.all([...living].map(async (worker) => {
      const force = setTimeout(worker.kill, stopTimeoutMs)
      worker.call('stop', null).catch(() => {}) // it is gone
      await worker.exited
      clearTimeout(force)
    }))
    await Promise.all(keeping)
    await adopting
  }

  let keeping: Array<Promise<void>> = []
  const first = fork(1)
  const second = fork(2)
  try {
    await Promise.all([first.built, second.built])
    const { url, port } = await open(first, range)
    const shared = { host: range.host, port, last: port }
    await open(second, shared)
    if (exclusive) await adoptEarlier(first)
    keeping = [first, second].map((worker) => keep(worker, shared))
    return { url, failed, close }
  } catch (error) {
    await close()
    throw error
  }
}

function messageOf (error: unknown): string {
  return (error as Error).message // calls reject with nothing else
}
