import { join } from 'node:path'
import { nameAnswerer } from './answers/index.js'
import { supervise } from './cluster/supervise.js'
import type { DemoConfig } from './config.js'
import { buildPage, pageFolder } from './page-build.js'
import { startPostgres } from '../servers/postgres.js'
import { foreignRedis, ownRedis, type RedisControl } from './redis-control.js'
import { describeRedis, startRedis } from '../servers/redis.js'
import { freePort } from '../servers/server-process.js'
import { loadSessionSecret } from './session.js'

export interface RunningDemo {
  /** The page's address. */
  url: string
  /** Settles, with the reason, only if the demo cannot go on. */
  failed: Promise<Error>
  /** Ends the workers, then the servers that the demo started. Calling it again waits for the same end. */
  close: () => Promise<void>
}

const mostPortsTried = 100

/**
 * Starts what the configuration lacks (the built page, Postgres, Redis), then the workers. `say` gets a line about each.
 * When a step fails, what was started before it is stopped again, and the error is thrown.
 */
export async function runDemo (config: DemoConfig, say: (line: string) => void): Promise<RunningDemo> {
  const stops: Array<() => Promise<void>> = []
  const closeAll = async (): Promise<void> => {
    for (let stop = stops.pop(); stop !== undefined; stop = stops.pop()) await stop()
  }

  try {
    await buildPage(say)
    const { databaseUrl, where } = await findPostgres()
    say(`Postgres: ${where}`)
    const redis = await findRedis()
    say(`Redis:    ${redis.where}`)
    say(`Answers:  ${nameAnswerer(config)}`)

    const { tokensPerSecond, openai, logLevel, host, portIsFixed } = config
    const port = config.port === 0 ? await freePort() : config.port // the workers of one port have to ask for the same one
    const workers = await supervise({
      settings: {
        databaseUrl,
        redisUrl: redis.redisUrl,
        sessionSecret: config.sessionSecret ?? await loadSessionSecret(config.dataDir),
        openai,
        tokensPerSecond,
        logLevel,
        pageFolder
      },
      range: { host, port, last: portIsFixed ? port : Math.min(port + mostPortsTried, 65535) },
      redis: redis.control,
      exclusive: config.databaseUrl === undefined,
      say
    })
    stops.push(workers.close)

    let closed: Promise<void> | undefined
    return { url: workers.url, failed: workers.failed, close: () => (closed ??= closeAll()) }
  } catch (error) {
    await closeAll()
    throw error
  }

  async function findPostgres (): Promise<{ databaseUrl: string, where: string }> {
    if (config.databaseUrl !== undefined) {
      return { databaseUrl: config.databaseUrl, where: `${hostOf(config.databaseUrl)} (DATABASE_URL)` }
    }
    const dataDir = join(config.dataDir, 'postgres')
    const postgres = await startPostgres({ dataDir, persistent: true })
    stops.push(() => postgres.stop())
    return { databaseUrl: postgres.url, where: `embedded, port ${postgres.port}, data in ${dataDir}` }
  }

  async function findRedis (): Promise<{ redisUrl: string, where: string, control: RedisControl }> {
    if (config.redisUrl !== undefined) {
      const { kind, where } = await describeGivenRedis(config.redisUrl)
      return { redisUrl: config.redisUrl, where, control: foreignRedis(kind) }
    }
    const redis = await startRedis()
    stops.push(() => redis.stop())
    return { redisUrl: redis.url, where: `${redis.kind}, port ${redis.port}`, control: ownRedis(redis) }
  }
}

/** Asks the server before the workers' Redis clients do, which would try for ever and never say why. */
async function describeGivenRedis (url: string): Promise<{ kind: string, where: string }> {
  const place = `${hostOf(url)} (REDIS_URL)`
  const { kind, version } = await describeRedis(url).catch((cause: Error) => {
    throw new Error(`Redis at ${place} cannot be used: ${cause.message}`, { cause })
  })
  return { kind, where: `${kind} ${version} at ${place}` }
}

/** Where a server is, without the password that its URL may hold. */
function hostOf (url: string): string {
  return new URL(url).host
}
