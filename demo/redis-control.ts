import type { DemoState } from './supervisor.js'
import type { RedisServer } from '../servers/redis.js'

/** The Redis of the demo, to be broken and mended by its users. */
export interface RedisControl {
  state (): DemoState['redis']
  /** Resolves with whether it runs, once it does what was asked. One change at a time, in the order of the calls. */
  set (running: boolean): Promise<boolean>
}

/** One that is somebody else's, and stays as it is. */
export function foreignRedis (kind: string): RedisControl {
  return {
    state: () => ({ kind, running: true, controllable: false }),
    set: async () => true
  }
}

export function ownRedis (server: RedisServer): RedisControl {
  let change: Promise<unknown> = Promise.resolve()
  return {
    state: () => ({ kind: server.kind, running: server.pid !== null, controllable: true }),
    async set (running) {
      const mine = change.then(async () => {
        await (running ? server.start() : server.kill())
        return server.pid !== null
      })
      change = mine.catch(() => {})
      return await mine
    }
  }
}
