import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import { createAnswerer } from './answers/index.js'
import { buildDemo } from './app.js'
import type { DemoConfig } from './config.js'
import { startPostgres } from './services/postgres.js'
import { describeRedis, startRedis } from './services/redis.js'
import { loadSessionSecret } from './session.js'

export interface RunningDemo {
  /** The page's address. */
  url: string
  /** Ends the app, then the servers that the demo started. Calling it again waits for the same end. */
  close: () => Promise<void>
}

const mostPortsTried = 100

/**
 * Starts what the configuration lacks (Postgres, Redis), then the app. `say` gets a line about each. When a step fails,
 * what was started before it is stopped again, and the error is thrown.
 */
export async function runDemo (config: DemoConfig, say: (line: string) => void): Promise<RunningDemo> {
  const stops: Array<() => Promise<void>> = []
  const closeAll = async (): Promise<void> => {
    for (let stop = stops.pop(); stop !== undefined; stop = stops.pop()) await stop()
  }

  try {
    const { databaseUrl, where } = await findPostgres()
    say(`Postgres: ${where}`)
    const redis = await findRedis()
    say(`Redis:    ${redis.where}`)
    const { answer, name } = await createAnswerer(config)
    say(`Answers:  ${name}`)

    const app = await buildDemo({
      databaseUrl,
      redisUrl: redis.redisUrl,
      sessionSecret: config.sessionSecret ?? await loadSessionSecret(config.dataDir),
      answer,
      logger: { level: config.logLevel }
    })
    stops.push(async () => { await app.close() })
    const url = await listen(app, config)

    let closed: Promise<void> | undefined
    return { url, close: () => (closed ??= closeAll()) }
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

  async function findRedis (): Promise<{ redisUrl: string, where: string }> {
    if (config.redisUrl !== undefined) return { redisUrl: config.redisUrl, where: await describeGivenRedis(config.redisUrl) }
    const redis = await startRedis()
    stops.push(() => redis.stop())
    return { redisUrl: redis.url, where: `${redis.kind}, port ${redis.port}` }
  }
}

/** Asks the server before the app's Redis client does, which would try for ever and never say why. */
async function describeGivenRedis (url: string): Promise<string> {
  const where = `${hostOf(url)} (REDIS_URL)`
  const { kind, version } = await describeRedis(url).catch((cause: Error) => {
    throw new Error(`Redis at ${where} cannot be used: ${cause.message}`, { cause })
  })
  return `${kind} ${version} at ${where}`
}

/** Listens on the configured port; when that was nobody's choice and it is taken, on the next free one. */
async function listen (app: FastifyInstance, { host, port, portIsFixed }: DemoConfig): Promise<string> {
  const last = portIsFixed ? port : Math.min(port + mostPortsTried, 65535)
  for (; ; port++) {
    try {
      const address = await app.listen({ host, port })
      return `${address}/`
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE' && port < last)) throw error
    }
  }
}

/** Where a server is, without the password that its URL may hold. */
function hostOf (url: string): string {
  return new URL(url).host
}
