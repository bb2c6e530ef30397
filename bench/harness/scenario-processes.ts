import { CheckError } from './check-error.js'
import { startRemote, type Methods, type Remote } from './remote.js'
import type { RemoteRuntime, RuntimeConfig, RuntimeMethods } from './runtime.js'

/** The processes of one scenario, and whatever else must end with it. */
export interface ScenarioProcesses {
  /** The scenario's process of this file: one, however often it is asked for. */
  start<Served extends Methods> (file: string): Promise<Remote<Served>>
  /** A contender's process, a new one each time. Its `end` rejects when its log told of trouble. */
  startRuntime (file: string, config: RuntimeConfig): Promise<{ app: RemoteRuntime, url: string }>
  /** To be called when the scenario is over; the last one first. */
  defer (close: () => Promise<unknown>): void
  /** Ends all that was started since the last call. Rejects, when it is gone, if an app's log told of trouble. */
  end (): Promise<void>
}

/** Paths of the benchmark's own files. */
const root = new URL('../', import.meta.url)

export function createScenarioProcesses (): ScenarioProcesses {
  const shared = new Map<string, Promise<unknown>>()
  let closers: Array<() => Promise<unknown>> = []

  async function launch<Served extends Methods> (file: string): Promise<Remote<Served>> {
    const remote = await startRemote<Served>(new URL(file, root))
    closers.push(remote.end)
    return remote
  }

  return {
    async start<Served extends Methods> (file: string) {
      const running = shared.get(file) ?? launch<Served>(file)
      shared.set(file, running)
      return await running as Remote<Served> // a file serves the same methods to all who ask
    },
    async startRuntime (file, config) {
      const remote = await launch<RuntimeMethods>(file)
      const app: RemoteRuntime = {
        ...remote,
        async end () {
          const complaints = await remote.call('complaints').catch(() => []) // it may be gone
          await remote.end()
          checkComplaints(file, complaints)
        }
      }
      const url = await app.call('start', config)
      closers.push(app.end)
      return { app, url }
    },
    defer (close) { closers.push(close) },
    async end () {
      const ending = closers.reverse()
      closers = []
      shared.clear()
      const errors: unknown[] = []
      for (const close of ending) await close().catch((error: unknown) => { errors.push(error) })
      if (errors.length > 0) throw errors[0]
    }
  }
}

function checkComplaints (file: string, complaints: string[]): void {
  if (complaints.length === 0) return
  throw new CheckError(`${file} logged ${complaints.length} lines, the first: ${complaints[0]}`)
}
