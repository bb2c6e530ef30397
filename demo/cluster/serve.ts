import type { FastifyInstance } from 'fastify'
import { createAnswerer } from '../answers/index.js'
import { buildDemo, type Demo } from '../app.js'
import type { Supervisor } from '../supervisor.js'
import { createPeer } from './peer.js'
import type { PortRange, PrimaryCalls, WorkerCalls, WorkerSettings } from './protocol.js'

/** Does what the primary asks, until that asks it to stop, or is gone. */
export function startWorker (): void {
  let building: Promise<Demo> = Promise.reject(new Error('the worker was not told to build its app'))
  building.catch(() => {}) // unless it is asked for
  let producer: string | undefined

  const primary = createPeer<PrimaryCalls, WorkerCalls>(process, {
    async build (settings) {
      producer = settings.self.producer
      building = build(settings)
      await building
    },
    listen: async (range) => await listen((await building).app, range),
    adopt: async (producers) => { await (await building).adopt(producers) },
    findOrphans: async (living) => await (await building).findOrphans(living),
    stop: async () => { await stop() }
  })

  async function build ({ self, logLevel, openai, ...settings }: WorkerSettings): Promise<Demo> {
    const supervisor: Supervisor = {
      self,
      state: () => primary.call('state', null),
      pidOf: (producer) => primary.call('pidOf', producer),
      kill: (producer) => primary.call('kill', producer),
      setRedis: (running) => primary.call('setRedis', running)
    }
    return await buildDemo({ ...settings, supervisor, answerer: await createAnswerer({ openai, ...settings }), logger: { level: logLevel } })
  }

  async function stop (): Promise<void> {
    const demo = await building.catch(() => undefined)
    await demo?.app.close()
    // Behind the answer to the primary; a cluster's worker ends with its channel
    setImmediate(() => { process.disconnect() })
  }

  // What `kill` sends: this worker leaves in good order, and the primary starts another one
  process.on('SIGTERM', async () => {
    if (producer !== undefined) await primary.call('leave', producer).catch(() => {}) // its end has the same effect, a little later
    await stop()
  })
  primary.call('hello', null)
}

/** Listens on the first port of the range that is not taken. */
async function listen (app: FastifyInstance, { host, port, last }: PortRange): Promise<{ url: string, port: number }> {
  for (; ; port++) {
    try {
      return { url: `${await app.listen({ host, port })}/`, port }
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE' && port < last)) throw error
    }
  }
}
