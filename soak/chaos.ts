import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import type { PostgresServer } from '../servers/postgres.js'
import { askRedis, type RedisServer } from '../servers/redis.js'
import { messageTopic } from '../plugin/wire/names.js'
import { freezeAll } from '../test/helper/servers.js'
import type { Fleet } from './fleet.js'
import type { Traffic } from './traffic.js'
import type { Disturbance } from './wire.js'

export interface Servers {
  redis: RedisServer
  postgres: PostgresServer
  /** The soak's own connections. */
  pool: pg.Pool
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

export function createFaults ({ redis, postgres, pool }: Servers, fleet: Fleet, traffic: Traffic, disturb: (how: Disturbance, share: number) => void): Faults {
  async function kill (slot: number): Promise<void> {
    const killed = fleet.kill(slot)
    traffic.orphan(slot)
    await killed
  }

  /** Runs `sql` in a transaction that stays open for so long. */
  async function hold (sql: string, values: unknown[], ms: number): Promise<void> {
    const client = await pool.connect()
    try {
      await client.query('begin')
      await client.query(sql, values)
      await delay(ms)
    } finally {
      await client.query('rollback').catch(() => {})
      client.release()
    }
  }

  /** As a program in another language would: under the message's row, and only while the message goes on. */
  async function insertForeign (messageId: string, ahead: number): Promise<void> {
    await pool.query(`
      with open as (select message_id from messages where message_id = $1 and status = 'streaming' for no key update)
      insert into message_events (message_id, sequence_no, event_type, payload)
      select message_id, $2 + (select max(sequence_no) from message_events where message_id = $1), 'answer', '{"type":"answer","foreign":true}' from open`,
    [messageId, ahead]).catch(() => {}) // its number is taken by now
  }

  return {
    'a table locked for 1 to 12 s': async () => {
      await hold(`lock table ${pick('messages', 'message_events')} in ${pick('share', 'exclusive', 'access exclusive')} mode`, [], between(1_000, 12_000))
    },
    'rows of 5 messages locked for 2 to 12 s': async () => {
      const ids = traffic.sample(5).map(({ messageId }) => messageId)
      await hold('select from messages where message_id = any ($1) for update', [ids], between(2_000, 12_000))
    },
    'Postgres frozen (SIGSTOP) for 0.5 to 8 s': async () => {
      const thaw = await freezeAll(postgres)
      await delay(between(500, 8_000))
      thaw()
    },
    'an app\'s event loop blocked for 0.5 to 7 s': async () => {
      const ms = between(500, 7_000)
      fleet.send(Math.random() < 0.5 ? 0 : 1, { type: 'block', ms })
      await delay(ms)
    },
    'rows of another program in 20 messages': async () => {
      await Promise.all(traffic.sample(20).map(async ({ messageId }) => { await insertForeign(messageId, Math.random() < 0.5 ? 1 : 3) }))
    },
    'envelopes without a row in 20 messages': async () => {
      for (const { messageId } of traffic.sample(20)) {
        for (const sequenceNo of [0, 40, 10_000]) {
          await askRedis(redis.url, 'PUBLISH', messageTopic(messageId), JSON.stringify({ message_id: messageId, sequence_no: sequenceNo, event_type: 'answer', payload: { type: 'rowless' } }))
        }
      }
    },
    '10 messages stopped': async () => {
      await Promise.all(traffic.sample(10).map(async ({ messageId, userId }) => {
        await fetch(`${fleet.urls[0]}/api/messages/${messageId}/stop`, { method: 'POST', headers: { 'x-user': userId } }).catch(() => {})
      }))
    },
    '5 messages opened and left': async () => { traffic.leave(5) },
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
      await pool.query('select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = \'client backend\'')
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
    await faults[kind]?.().catch((error: unknown) => { console.error(error) }) // another fault may be in its way
    windows.push({ kind, from, to: Date.now() + AFTERMATH_MS })
    await delay(AFTERMATH_MS + between(0, CALM_MS), undefined, { signal }).catch(() => {})
  }
  return windows
}

function pick<T> (...items: [T, ...T[]]): T {
  return items[Math.floor(Math.random() * items.length)] ?? items[0]
}

function between (from: number, to: number): number {
  return from + Math.random() * (to - from)
}

function shuffled<T> (items: T[]): T[] {
  return items.map((item) => ({ item, key: Math.random() })).sort((a, b) => a.key - b.key).map(({ item }) => item)
}
