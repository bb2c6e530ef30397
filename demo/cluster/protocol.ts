import type { OpenAIOptions } from '../answers/openai.js'
import type { DemoState, Self } from '../supervisor.js'

/** What a worker is told before anything else. */
export interface WorkerSettings {
  self: Self
  databaseUrl: string
  redisUrl: string
  sessionSecret: string
  openai: OpenAIOptions | undefined
  tokensPerSecond: number
  logLevel: string
  pageFolder: string
}

export interface PortRange {
  host: string
  port: number
  /** The last one to be tried when those before it are taken. */
  last: number
}

/** What the primary asks of a worker. */
export type WorkerCalls = {
  /** Builds the app. */
  build: { takes: WorkerSettings, gives: void }
  listen: { takes: PortRange, gives: { url: string, port: number } }
  /** Go on with what these workers, who are gone, have left. */
  adopt: { takes: string[], gives: void }
  /** Whose work there is besides that of these workers. */
  findOrphans: { takes: string[], gives: string[] }
  /** Closes the app; the process then ends. */
  stop: { takes: null, gives: void }
}

/** What a worker asks of the primary. */
export type PrimaryCalls = {
  /** The worker can be called from now on: what is sent to a process that does not listen yet is lost. */
  hello: { takes: null, gives: void }
  /** This worker will go, in good order; resolves when another one, if there is one, has taken its work over. */
  leave: { takes: string, gives: void }
  state: { takes: null, gives: DemoState }
  pidOf: { takes: string, gives: number | undefined }
  kill: { takes: string, gives: void }
  setRedis: { takes: boolean, gives: boolean }
}
