import { fileURLToPath } from 'node:url'
import type { OpenAIOptions } from './answers/openai.js'
import { shortestSecret } from './session.js'

export interface DemoConfig {
  host: string
  port: number
  /** True when PORT was given: then a taken port is an error, and no other one is tried. */
  portIsFixed: boolean
  databaseUrl?: string | undefined
  redisUrl?: string | undefined
  sessionSecret?: string | undefined
  tokensPerSecond: number
  openai?: OpenAIOptions | undefined
  logLevel: string
  /** The embedded Postgres's data and the session secret; kept between runs. */
  dataDir: string
}

/** An environment variable cannot be used; the message names it, what it holds and what it should hold. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']

/** Reads the demo's settings. A variable that is empty counts as not set; a wrong one throws `ConfigError`. */
export function readConfig (env: NodeJS.ProcessEnv): DemoConfig {
  const get = (name: string): string | undefined => env[name]?.trim() || undefined

  const numberFrom = (name: string, fallback: number, what: string, accepts: (value: number) => boolean): number => {
    const text = get(name)
    if (text === undefined) return fallback
    const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN
    if (!accepts(value)) throw new ConfigError(`${name} must be ${what}, not "${text}"`)
    return value
  }

  const urlFrom = (name: string, protocols: string[]): string | undefined => {
    const text = get(name)
    if (text === undefined || (URL.canParse(text) && protocols.includes(new URL(text).protocol))) return text
    // The value is left out of the message: it may hold a password.
    throw new ConfigError(`${name} must be a URL that starts with ${protocols.map((protocol) => `${protocol}//`).join(' or ')}`)
  }

  const sessionSecret = get('SESSION_SECRET')
  if (sessionSecret !== undefined && sessionSecret.length < shortestSecret) {
    throw new ConfigError(`SESSION_SECRET must have at least ${shortestSecret} characters, not ${sessionSecret.length}`)
  }

  const logLevel = get('LOG_LEVEL') ?? 'warn'
  if (!logLevels.includes(logLevel)) throw new ConfigError(`LOG_LEVEL must be one of ${logLevels.join(', ')}, not "${logLevel}"`)

  const baseUrl = urlFrom('OPENAI_BASE_URL', ['http:', 'https:'])

  return {
    host: get('HOST') ?? '127.0.0.1',
    port: numberFrom('PORT', 3000, 'a whole number from 0 to 65535', (port) => Number.isInteger(port) && port <= 65535),
    portIsFixed: get('PORT') !== undefined,
    databaseUrl: urlFrom('DATABASE_URL', ['postgres:', 'postgresql:']),
    redisUrl: urlFrom('REDIS_URL', ['redis:', 'rediss:']),
    sessionSecret,
    tokensPerSecond: numberFrom('TOKENS_PER_SECOND', 40, 'a number above 0', (rate) => rate > 0),
    openai: baseUrl === undefined ? undefined : { baseUrl, model: get('OPENAI_MODEL'), apiKey: get('OPENAI_API_KEY') },
    logLevel,
    dataDir: get('DEMO_DATA_DIR') ?? fileURLToPath(new URL('../.demo', import.meta.url))
  }
}
