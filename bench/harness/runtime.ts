import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks'
import { startCpuProfile } from './cpu-profile.js'
import { memory, peakBytes, resetPeak } from './process-memory.js'
import { append, flood, pace, paceMany, type Write } from './producing.js'
import { watchQueries, type QueryWatch } from './queries.js'
import type { Remote } from './remote.js'
import { serve } from './serve.js'

export interface RuntimeConfig {
  databaseUrl: string
  redisUrl: string
  /** The URL of the library's module, for the app that loads it. */
  plugin: string
  /** Default: a free one. */
  port?: number
  /** Statements and delays of the event loop are counted; it costs a little. */
  watched?: boolean
  /** Where its CPU profile goes, from its start to its end. */
  profile?: string
}

/** A contender as it runs in its process. */
export interface Runtime {
  /** Where its viewers connect, without a slash at the end; empty when it has none. */
  url: string
  /** A writer for a message; made outside of the time that is measured. */
  openWriter (messageId: string): Promise<Write>
  /** A writer of a user's notifications. */
  openUserWriter? (userId: string): Write
  /** What its log said that it should not have had to. */
  complaints?: string[]
  close (): Promise<unknown>
}

/** How finely delays of the event loop are sampled, in ms. */
const LOOP_RESOLUTION_MS = 10

/** What every contender's process can be asked. */
export function createRuntimeMethods (start: (config: RuntimeConfig) => Promise<Runtime>) {
  const writers = new Map<string, Write>()
  let running: Runtime | null = null
  let queries: QueryWatch | null = null
  let loop: IntervalHistogram | null = null
  let stopProfile = async () => {}

  function runtime (): Runtime {
    if (running === null) throw new Error('not started')
    return running
  }

  function userWriters (userIds: readonly string[]): Write[] {
    const { openUserWriter } = runtime()
    if (openUserWriter === undefined) throw new Error('it has no notifications')
    return userIds.map((userId) => openUserWriter(userId))
  }

  function writerOf (messageId: string): Write {
    const write = writers.get(messageId)
    if (write === undefined) throw new Error(`no writer is open for ${messageId}`)
    return write
  }

  function reset (): void {
    queries?.reset()
    loop?.reset()
  }

  return {
    start: async (config: RuntimeConfig) => {
      if (config.watched === true) {
        queries = watchQueries()
        loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS })
        loop.enable()
      }
      running = await start(config)
      if (config.profile !== undefined) stopProfile = await startCpuProfile(config.profile)
      reset()
      return running.url
    },
    append: async (messageIds: string[], durationMs: number) => {
      return await append(await Promise.all(messageIds.map(async (messageId) => await runtime().openWriter(messageId))), durationMs)
    },
    /** Opens a message for the methods below. */
    open: async (messageId: string) => { writers.set(messageId, await runtime().openWriter(messageId)) },
    pace: async (messageId: string, from: number, to: number, intervalMs: number) => await pace(writerOf(messageId), from, to, intervalMs),
    flood: async (messageId: string, from: number, durationMs: number, inFlight: number) => await flood(writerOf(messageId), from, durationMs, inFlight),
    /** Events 0 to `count`, each awaited. */
    write: async (messageId: string, count: number) => {
      const write = writerOf(messageId)
      for (let n = 0; n < count; n++) await write(n)
    },
    /** Each user's notifications are awaited, from 0 on; see `append`. */
    notify: async (userIds: string[], durationMs: number) => await append(userWriters(userIds), durationMs),
    paceUsers: async (userIds: string[], events: number, perTick: number, intervalMs: number) => await paceMany(userWriters(userIds), events, perTick, intervalMs),
    memory,
    resetPeak,
    peakBytes,
    cpuMs () {
      const { user, system } = process.cpuUsage()
      return (user + system) / 1e3
    },
    /** Counts from now on. */
    reset,
    queriesSeen: (windowMs: number) => queries?.seen(windowMs) ?? null,
    /** In ms, beyond the resolution. */
    loopDelay: () => ({ p99Ms: delayMs(loop?.percentile(99)), mostMs: delayMs(loop?.max) }),
    complaints: () => running?.complaints ?? [],
    async close () {
      await stopProfile()
      await running?.close()
    }
  }
}

function delayMs (nanoseconds: number = NaN): number {
  return Math.max(0, nanoseconds / 1e6 - LOOP_RESOLUTION_MS)
}

export type RuntimeMethods = ReturnType<typeof createRuntimeMethods>
export type RemoteRuntime = Remote<RuntimeMethods>

export function serveRuntime (start: (config: RuntimeConfig) => Promise<Runtime>): void {
  const methods = createRuntimeMethods(start)
  serve(methods, methods.close)
}
