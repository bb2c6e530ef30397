import { join } from 'node:path'
import { createDatabase, dropDatabase, openDatabase, type Database } from './database.js'
import { OURS, type Library } from './library.js'
import { createRedisControl, type RedisControl } from './redis-control.js'
import type { RemoteRuntime, RuntimeConfig } from './runtime.js'
import { createScenarioProcesses, type ScenarioProcesses } from './scenario-processes.js'
import { withoutTriggers } from './tables.js'

export interface BenchOptions {
  rounds: number
  /** A tenth of the work, for a look at whether everything runs; its figures mean nothing. */
  quick: boolean
  /** Where CPU profiles of the library's app go; `null`: none are taken. */
  profiles: string | null
}

type FromDatabase = Pick<Database, 'query' | 'clear' | 'checkpoint'>
type FromProcesses = Pick<ScenarioProcesses, 'start' | 'defer'>

/** What a scenario has to work with: private servers, processes, and a way to ask the database. */
export interface Bench extends BenchOptions, RedisControl, FromDatabase, FromProcesses {
  readonly servers: RuntimeConfig
  /** The same servers, for a contender that writes into the tables without the library. */
  readonly otherServers: RuntimeConfig
  /** Where the servers' data is, on a disk. */
  readonly folder: string
  /** The number, or a tenth of it in a quick run. */
  scaled (value: number): number
  /** A contender's process, started with these servers or others. Its `end` rejects when its log told of trouble. */
  startRuntime (file: string, config?: Partial<RuntimeConfig>): Promise<{ app: RemoteRuntime, url: string }>
  /** A further database with the library's tables, which is dropped with the scenario. */
  createDatabase (name: string): Promise<Database>
  beginScenario (name: string): void
  endScenario: ScenarioProcesses['end']
  /** The same servers and processes with another revision of the library, which gets a database of its own. */
  withLibrary (library: Library): Promise<Bench>
  close (): Promise<void>
}

/** The one process that loads the library. */
const APP = 'ours/app.ts'

/** `servers` are private, and the database has the library's tables. */
export function createBench (
  library: Library,
  servers: Pick<RuntimeConfig, 'databaseUrl' | 'redisUrl'>,
  folder: string,
  options: BenchOptions
): Bench {
  const processes = createScenarioProcesses()
  const redis = createRedisControl(servers.redisUrl)
  const databases: Database[] = []
  let scenario = ''
  let apps = 0

  function createView (library: Library, database: Database): Bench {
    databases.push(database)
    const { query, clear, checkpoint } = database
    const own = { ...servers, databaseUrl: database.url, plugin: library.plugin }
    const other = { ...own, databaseUrl: withoutTriggers(database.url) }

    function profile (): Pick<RuntimeConfig, 'profile'> {
      if (options.profiles === null) return {}
      const parts = [scenario, ...library.name === OURS ? [] : [library.name], ++apps]
      return { profile: join(options.profiles, `${parts.join('-')}.cpuprofile`) }
    }

    return {
      ...options,
      ...redis,
      query,
      clear,
      checkpoint,
      servers: own,
      otherServers: other,
      folder,
      start: processes.start,
      defer: processes.defer,
      scaled: (value) => options.quick ? Math.ceil(value / 10) : value,
      startRuntime: async (file, config) => {
        return await processes.startRuntime(file, { ...file === APP ? { ...own, ...profile() } : other, ...config })
      },
      async createDatabase (name) {
        const unique = `${name}_${library.name}`
        processes.defer(async () => { await dropDatabase(database, unique) })
        const created = await createDatabase(database, unique, library)
        processes.defer(created.close)
        return created
      },
      beginScenario (name) {
        scenario = name
        apps = 0
      },
      endScenario: processes.end,
      async withLibrary (library) {
        return createView(library, await createDatabase(database, `journal_${library.name}`, library))
      },
      async close () {
        for (const opened of databases.splice(0)) await opened.close()
      }
    }
  }

  return createView(library, openDatabase(servers.databaseUrl))
}
