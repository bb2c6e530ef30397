import { join } from 'node:path'
import pg from 'pg'
import { askRedis } from '../../demo/services/redis.js'
import { CheckError } from './checks.js'
import { startRemote, type Methods, type Remote } from './remote.js'
import type { RemoteRuntime, RuntimeConfig, RuntimeMethods } from './runtime.js'
import { clearTables, withoutTriggers } from './tables.js'

export interface BenchOptions {
  rounds: number
  /** A tenth of the work, for a look at whether everything runs; its figures mean nothing. */
  quick: boolean
  /** Where CPU profiles of our app go; `null`: none are taken. */
  profiles: string | null
}

/** What a scenario has to work with: private servers, processes, and a way to ask the database. */
export interface Bench extends BenchOptions {
  readonly servers: RuntimeConfig
  /** The same servers, for a contender that writes into the tables without the library. */
  readonly otherServers: RuntimeConfig
  /** Where the servers' data is, on a disk. */
  readonly folder: string
  query<Row extends pg.QueryResultRow> (sql: string, values?: unknown[]): Promise<Row[]>
  /** The number, or a tenth of it in a quick run. */
  scaled (value: number): number
  /** A process that ends with the scenario. */
  start<Served extends Methods> (file: string): Promise<Remote<Served>>
  /** A contender's process, started with these servers or others. Its `end` rejects when its log told of trouble. */
  startRuntime (file: string, config?: Partial<RuntimeConfig>): Promise<{ app: RemoteRuntime, url: string }>
  /** Empties the tables, and has the dirty pages on disk, so that nobody pays for what was written before. */
  clear (): Promise<void>
  checkpoint (): Promise<void>
  clearRedis (): Promise<void>
  /** How many connections of Redis are subscribed to something. */
  subscribers (): Promise<number>
  /** How many PUBLISH commands Redis has executed so far. */
  publishes (): Promise<number>
  /** To be called when the scenario is over; the last one first. */
  defer (close: () => Promise<unknown>): void
  beginScenario (name: string): void
  /** Ends everything that was started since the last call. Rejects, when all of it is gone, if an app's log told of trouble. */
  endScenario (): Promise<void>
  close (): Promise<void>
}

/** Paths of the benchmark's own files. */
const root = new URL('../', import.meta.url)
/** The one process that is profiled. */
const OURS = 'ours/app.ts'

export function createBench (servers: RuntimeConfig, folder: string, options: BenchOptions): Bench {
  const pool = new pg.Pool({ connectionString: servers.databaseUrl, max: 2 })
  pool.on('error', () => {})
  let closers: Array<() => Promise<unknown>> = []
  let scenario = ''
  let profiles = 0

  const bench: Bench = {
    servers,
    otherServers: { ...servers, databaseUrl: withoutTriggers(servers.databaseUrl) },
    folder,
    ...options,
    query: async <Row extends pg.QueryResultRow>(sql: string, values?: unknown[]) => (await pool.query<Row>(sql, values)).rows,
    scaled: (value) => options.quick ? Math.ceil(value / 10) : value,
    async start<Served extends Methods> (file: string) {
      const remote = await startRemote<Served>(new URL(file, root))
      closers.push(remote.end)
      return remote
    },
    async startRuntime (file, config) {
      const remote = await bench.start<RuntimeMethods>(file)
      const app: RemoteRuntime = {
        ...remote,
        async end () {
          const complaints = await remote.call('complaints').catch(() => []) // it may be gone
          await remote.end()
          checkComplaints(file, complaints)
        }
      }
      const url = await app.call('start', { ...file === OURS ? servers : bench.otherServers, ...config, ...file === OURS && profiling() })
      closers.push(app.end)
      return { app, url }
    },
    clearRedis: async () => { await askRedis(servers.redisUrl, 'FLUSHALL') },
    async clear () {
      await clearTables(async (sql) => await pool.query(sql))
      await bench.checkpoint()
    },
    async checkpoint () { await pool.query('checkpoint') },
    async publishes () {
      const stats = await askRedis(servers.redisUrl, 'INFO', 'commandstats')
      return Number(/^cmdstat_publish:calls=(\d+)/m.exec(stats)?.[1] ?? 0)
    },
    async subscribers () {
      const list = await askRedis(servers.redisUrl, 'CLIENT', 'LIST')
      return list.match(/ flags=\w*P/g)?.length ?? 0
    },
    defer (close) { closers.push(close) },
    beginScenario (name) {
      scenario = name
      profiles = 0
    },
    async endScenario () {
      const ending = closers.reverse()
      closers = []
      const errors: unknown[] = []
      for (const close of ending) await close().catch((error: unknown) => { errors.push(error) })
      if (errors.length > 0) throw errors[0]
    },
    close: async () => { await pool.end() }
  }

  function profiling (): Pick<RuntimeConfig, 'profile'> {
    return options.profiles === null ? {} : { profile: join(options.profiles, `${scenario}-${++profiles}.cpuprofile`) }
  }

  return bench
}

function checkComplaints (file: string, complaints: string[]): void {
  if (complaints.length > 0) throw new CheckError(`${file} logged ${complaints.length} lines, the first: ${complaints[0]}`)
}
