import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { Test } from 'tap'
import type { PostgresServer } from '../../servers/postgres.js'
import { askRedis, type RedisServer } from '../../servers/redis.js'
import type { MessageJournal } from '../../plugin/index.js'
import { startApp, type LogLine, type TestAppOptions } from './app.js'
import { createTestDatabase } from './database.js'
import { makeLossy, type PublishFault } from './lossy.js'
import { addClock } from './clock-step.js'
import { holdLock, type HeldLock } from './locks.js'
import type { DatabaseFault, Fault, LinkFault } from './program.js'
import { freezeAll } from './servers.js'
import { startTcpProxy, type TcpProxy } from './tcp-proxy.js'

/** A running app. */
export interface Instance {
  journal: MessageJournal
  url: string
}

/** Two apps on one Postgres and one Redis, and what can be done to them. */
export interface TestCluster {
  redis: RedisServer
  /** What the apps have logged so far. */
  lines: LogLine[]
  /** The test's own connections. */
  pool: pg.Pool
  /** The app with this number, or the other one while it is being restarted. */
  instance (wanted: number): Instance
  /** Resolves when it is over. */
  inject (fault: Fault): Promise<void>
}

export interface TestClusterOptions extends Omit<TestAppOptions, 'postgres'> {
  /** What `publishNonsense` publishes: texts, by topic. */
  nonsense (): Iterable<[topic: string, texts: string[]]>
  /** A server for the faults of the database. Default: that of all tests, which has none. */
  postgres?: PostgresServer
  /** The messages of which `lockRow` takes one. */
  messageIds?: ReadonlySet<string>
}

const APP_NAME = 'journal-app'
const LOCK_ONE = 'select from messages where message_id = any ($1) order by message_id limit 1 for update'

function blockLoop (ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end;);
}

export async function startTestCluster (t: Test, redis: RedisServer, { nonsense, postgres, messageIds = new Set(), ...options }: TestClusterOptions): Promise<TestCluster> {
  const ownUrl = postgres?.url ?? await createTestDatabase(t)
  const databaseUrl = new URL(ownUrl)
  const pool = new pg.Pool({ connectionString: ownUrl })
  const stepClock = postgres === undefined ? null : await addClock(pool)
  const proxies: TcpProxy[] = []
  const lines: LogLine[] = []
  pool.on('error', () => {}) // a session that ends with its database
  t.teardown(() => pool.end())
  databaseUrl.searchParams.set('application_name', APP_NAME)
  const lossy = new Set<(fault: PublishFault, count: number) => void>()

  /** With faults of the database, each app has a link of its own to it. */
  async function link (index: number): Promise<string> {
    if (postgres === undefined) return databaseUrl.href
    const proxy = await startTcpProxy(t, databaseUrl.href)
    proxies[index] = proxy
    return proxy.url
  }

  async function start (index: number): Promise<Instance & { close (): Promise<void> }> {
    const { app, url } = await startApp(t, { databaseUrl: await link(index), redisUrl: redis.url, lines, ...options })
    const applyFault = makeLossy(app.redis)
    lossy.add(applyFault)
    return {
      journal: app.journal,
      url,
      async close () {
        lossy.delete(applyFault)
        await app.close()
      }
    }
  }

  const instances = [await start(0), await start(1)]
  const live = new Set([0, 1])

  async function restart (index: number): Promise<void> {
    live.delete(index)
    await instances[index]?.close()
    instances[index] = await start(index)
    live.add(index)
  }

  function applyFault (fault: PublishFault, count: number): void {
    for (const each of lossy) each(fault, count)
  }

  async function hold (lock: Promise<HeldLock>, ms: number): Promise<void> {
    const { release } = await lock
    await delay(ms)
    await release()
  }

  async function freezePostgres (ms: number): Promise<void> {
    const thaw = await freezeAll({ pid: postgres?.pid ?? null })
    await delay(ms)
    thaw()
  }

  async function breakLink ({ kind, instance, direction, ms }: LinkFault): Promise<void> {
    const proxy = proxies[instance]
    proxy?.set(direction, kind === 'stallLink' ? 'stall' : 'drop')
    await delay(ms)
    if (kind === 'dropLink') proxy?.cut() // a connection that has lost bytes is no sound one
    proxy?.set(direction, 'flow')
  }

  async function causeInDatabase (fault: DatabaseFault): Promise<void> {
    switch (fault.kind) {
      case 'lockTable': return await hold(holdLock(t, ownUrl, `lock table ${fault.table} in ${fault.mode} mode`), fault.ms)
      case 'lockRow': return await hold(holdLock(t, ownUrl, LOCK_ONE, [[...messageIds]]), fault.ms)
      case 'freezePostgres': return await freezePostgres(fault.ms)
      case 'blockLoop': return blockLoop(fault.ms)
      case 'stepClock': return await stepClock?.(fault.byMs)
      default: await breakLink(fault)
    }
  }

  return {
    redis,
    lines,
    pool,
    instance (wanted) {
      const found = instances[live.has(wanted % 2) ? wanted % 2 : 1 - wanted % 2]
      if (found === undefined) throw new Error('no app is running')
      return found
    },
    async inject (fault) {
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
        case 'losePublishes': return applyFault('lose', fault.count)
        case 'doublePublishes': return applyFault('double', fault.count)
        case 'delayPublishes': return applyFault('delay', fault.count)
        case 'restartApp': return await restart(fault.instance)
        default: await causeInDatabase(fault)
      }
    }
  }
}
