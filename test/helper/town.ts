import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { Test } from 'tap'
import { askRedis, type RedisServer } from '../../demo/services/redis.js'
import type { MessageJournal } from '../../plugin/index.js'
import { startApp, type TestAppOptions } from './app.js'
import { createTestDatabase } from './database.js'
import { makeLossy, type Mishap } from './lossy.js'
import type { Fault } from './program.js'

/** A running app. */
export interface Instance {
  journal: MessageJournal
  url: string
}

/** Two apps on one Postgres and one Redis, and what can be done to them. */
export interface Town {
  redis: RedisServer
  /** The test's own connections. */
  pool: pg.Pool
  /** The app with this number, or the other one while it is being restarted. */
  instance (wanted: number): Instance
  /** Resolves when it is over. */
  cause (fault: Fault): Promise<void>
}

export interface TownOptions extends TestAppOptions {
  /** What `publishNonsense` publishes: texts, by topic. */
  nonsense (): Iterable<[topic: string, texts: string[]]>
}

const APP_NAME = 'journal-app'

export async function buildTown (t: Test, redis: RedisServer, { nonsense, ...options }: TownOptions): Promise<Town> {
  const databaseUrl = new URL(await createTestDatabase(t))
  const pool = new pg.Pool({ connectionString: databaseUrl.href })
  pool.on('error', () => {}) // a session that ends with its database
  t.teardown(() => pool.end())
  databaseUrl.searchParams.set('application_name', APP_NAME)
  const lossy = new Set<(mishap: Mishap, count: number) => void>()

  async function start (): Promise<Instance & { close (): Promise<void> }> {
    const { app, url } = await startApp(t, { databaseUrl: databaseUrl.href, redisUrl: redis.url, ...options })
    const mishandle = makeLossy(app.redis)
    lossy.add(mishandle)
    return {
      journal: app.journal,
      url,
      async close () {
        lossy.delete(mishandle)
        await app.close()
      }
    }
  }

  const instances = [await start(), await start()]
  const live = new Set([0, 1])

  async function restart (index: number): Promise<void> {
    live.delete(index)
    await instances[index]?.close()
    instances[index] = await start()
    live.add(index)
  }

  function mishandle (mishap: Mishap, count: number): void {
    for (const each of lossy) each(mishap, count)
  }

  return {
    redis,
    pool,
    instance (wanted) {
      const found = instances[live.has(wanted % 2) ? wanted % 2 : 1 - wanted % 2]
      if (found === undefined) throw new Error('no app is running')
      return found
    },
    async cause (fault) {
      await delay(fault.waitMs)
      switch (fault.kind) {
        case 'killPubsub':
          await askRedis(redis.url, 'CLIENT', 'KILL', 'TYPE', 'pubsub')
          break
        case 'terminateBackends':
          await pool.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = $1', [APP_NAME])
          break
        case 'publishNonsense':
          for (const [topic, texts] of nonsense()) {
            for (const text of texts) await askRedis(redis.url, 'PUBLISH', topic, text)
          }
          break
        case 'freezeRedis':
          if (redis.pid === null) return
          process.kill(redis.pid, 'SIGSTOP')
          await delay(fault.ms)
          process.kill(redis.pid, 'SIGCONT')
          break
        case 'restartRedis':
          await redis.kill()
          await delay(fault.ms)
          await redis.start()
          break
        case 'losePublishes': return mishandle('lose', fault.count)
        case 'doublePublishes': return mishandle('double', fault.count)
        case 'delayPublishes': return mishandle('delay', fault.count)
        case 'restartApp': await restart(fault.instance)
      }
    }
  }
}
