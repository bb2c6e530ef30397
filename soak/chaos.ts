import { setTimeout as delay } from 'node:timers/promises'
import type { PostgresServer } from '../demo/services/postgres.js'
import { askRedis, type RedisServer } from '../demo/services/redis.js'
import type { Fleet } from './fleet.js'
import type { Traffic } from './traffic.js'
import type { Disturbance } from './wire.js'

export interface Servers {
  redis: RedisServer
  postgres: PostgresServer
  /** By the soak's own connection. */
  ask (sql: string): Promise<void>
}

/** When something was wrong, in ms since the epoch; a while for what it leads to is included. */
export interface FaultWindow {
  kind: string
  from: number
  to: number
}

const AFTERMATH_MS = 2_000
const CALM_MS = 1_500

/** Each resolves when the damage is repaired. */
export type Faults = Record<string, () => Promise<void>>

export function createFaults ({ redis, postgres, ask }: Servers, fleet: Fleet, traffic: Traffic, disturb: (how: Disturbance, share: number) => void): Faults {
  async function kill (slot: number): Promise<void> {
    const killed = fleet.kill(slot)
    traffic.orphan(slot)
    await killed
  }

  return {
    'Redis killed, back after 1 to 12 s': async () => {
      await redis.kill()
      await delay(between(1_000, 12_000))
      await redis.start()
    },
    'Redis frozen (SIGSTOP) for 0.5 to 6 s': async () => {
      const { pid } = redis
      if (pid === null) return
      process.kill(pid, 'SIGSTOP')
      await delay(between(500, 6_000))
      process.kill(pid, 'SIGCONT')
    },
    'Redis: CLIENT KILL TYPE pubsub': async () => { await askRedis(redis.url, 'CLIENT', 'KILL', 'TYPE', 'pubsub') },
    '100 publishes dropped': async () => { for (const slot of fleet.live) fleet.send(slot, { type: 'losePublishes', count: 50 }) },
    'Postgres restarted, down for up to 3 s': async () => {
      await postgres.stop()
      await delay(between(0, 3_000))
      await postgres.start()
    },
    'Postgres crashed (SIGKILL), down for up to 2 s': async () => {
      await postgres.kill()
      await delay(between(0, 2_000))
      await postgres.start()
    },
    'pg_terminate_backend on all of the apps\' sessions': async () => {
      await ask('select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = \'client backend\'')
    },
    'app process killed (SIGKILL), and a new one': async () => { await kill(1) },
    'app.close(), and a new app': async () => { await fleet.restart(Math.random() < 0.5 ? 0 : 1) },
    'messages taken over by the other app': async () => { traffic.takeOver() },
    'a third of the readers cut': async () => { disturb('cut', 1 / 3) },
    'a fifth of the readers slow for 4 s': async () => { disturb('slow', 1 / 5) },
    'a twentieth of the readers gone for good': async () => { disturb('abandon', 1 / 20) }
  }
}

/** Causes one fault after another, every kind in turn, until `signal` aborts; resolves when the last one is repaired. */
export async function rage (faults: Faults, signal: AbortSignal): Promise<FaultWindow[]> {
  const windows: FaultWindow[] = []
  for (let round: string[] = []; !signal.aborted;) {
    if (round.length === 0) round = shuffled(Object.keys(faults))
    const kind = round.pop() ?? ''
    console.error(`${new Date().toISOString().slice(11, 19)} ${kind}`)
    const from = Date.now()
    await faults[kind]?.()
    windows.push({ kind, from, to: Date.now() + AFTERMATH_MS })
    await delay(AFTERMATH_MS + between(0, CALM_MS), undefined, { signal }).catch(() => {})
  }
  return windows
}

function between (from: number, to: number): number {
  return from + Math.random() * (to - from)
}

function shuffled<T> (items: T[]): T[] {
  return items.map((item) => ({ item, key: Math.random() })).sort((a, b) => a.key - b.key).map(({ item }) => item)
}
