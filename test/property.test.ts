import fc from 'fast-check'
import { setMaxListeners } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import t, { type Test } from 'tap'
import { askRedis, startRedis, type RedisServer } from '../demo/services/redis.js'
import { startApp } from './helper/app.js'
import { createTestDatabase } from './helper/database.js'
import { execute, type Instance, type World } from './helper/execute.js'
import { makeLossy, type Mishap } from './helper/lossy.js'
import { faults, program, type Fault } from './helper/program.js'
import { NEEDS_REAL_REDIS } from './helper/real-redis.js'

/** PROGRAMS: how many. FC_SEED and FC_PATH, as a failure prints them, repeat one; it is then also made smaller. */
const { PROGRAMS = '200', FC_SEED, FC_PATH } = process.env
const PROGRAMS_PER_RUN = 20
/** A reader that has not finished by then never will. */
const DEADLINE_MS = 25_000
const APP_NAME = 'journal-app'

interface Town extends World {
  redis: RedisServer
  restart (instance: number): Promise<void>
  mishandle (mishap: Mishap, count: number): void
}

async function build (t: Test): Promise<Town> {
  const databaseUrl = new URL(await createTestDatabase(t))
  const pool = new pg.Pool({ connectionString: databaseUrl.href })
  pool.on('error', () => {}) // a session that ends with its database
  t.teardown(() => pool.end())
  databaseUrl.searchParams.set('application_name', APP_NAME)
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const lossy = new Set<(mishap: Mishap, count: number) => void>()

  async function start (): Promise<Instance & { close (): Promise<void> }> {
    const { app, url } = await startApp(t, {
      databaseUrl: databaseUrl.href, redisUrl: redis.url, maxConnectionsPerUser: 0, reconcileMs: 250, heartbeatMs: 250, producerIdleMs: 4_000
    })
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
  return {
    pool,
    redis,
    user: 'ada',
    messageIds: new Set(),
    instance (wanted) {
      const found = instances[live.has(wanted % 2) ? wanted % 2 : 1 - wanted % 2]
      if (found === undefined) throw new Error('no app is running')
      return found
    },
    async restart (index) {
      live.delete(index)
      await instances[index]?.close()
      instances[index] = await start()
      live.add(index)
    },
    mishandle (mishap, count) { for (const each of lossy) each(mishap, count) }
  }
}

async function cause (town: Town, fault: Fault): Promise<void> {
  const { redis, pool } = town
  await delay(fault.waitMs)
  switch (fault.kind) {
    case 'killPubsub':
      await askRedis(redis.url, 'CLIENT', 'KILL', 'TYPE', 'pubsub')
      break
    case 'terminateBackends':
      await pool.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = $1', [APP_NAME])
      break
    case 'publishNonsense':
      for (const messageId of town.messageIds) {
        for (const text of nonsense(messageId)) await askRedis(redis.url, 'PUBLISH', `channel:${messageId}`, text)
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
    case 'losePublishes': return town.mishandle('lose', fault.count)
    case 'doublePublishes': return town.mishandle('double', fault.count)
    case 'delayPublishes': return town.mishandle('delay', fault.count)
    case 'restartApp': await town.restart(fault.instance)
  }
}

/** Text that is no envelope, and envelopes of events that are not in the journal, so far ahead that none ever will be. */
function nonsense (messageId: string): string[] {
  const envelope = { message_id: messageId, sequence_no: 100_000, event_type: 'answer', payload: { type: 'nonsense' } }
  return [
    '', 'null', '[]', '{"message_id":', '\0', '{"sequence_no":0,"payload":{}',
    JSON.stringify({ ...envelope, sequence_no: '1' }),
    JSON.stringify({ ...envelope, sequence_no: -1 }),
    JSON.stringify({ ...envelope, payload: 'text' }),
    JSON.stringify(envelope),
    JSON.stringify({ ...envelope, event_type: 'end', payload: { type: 'end' } })
  ]
}

t.test('every reader gets every committed event exactly once, in order, and then the end', NEEDS_REAL_REDIS, async (t) => {
  const town = await build(t)
  const property = fc.asyncProperty(fc.array(program, { minLength: PROGRAMS_PER_RUN, maxLength: PROGRAMS_PER_RUN }), faults, async (programs, faults) => {
    const { signal, abort } = deadline()
    const [complaints] = await Promise.all([
      Promise.all(programs.map((program) => execute(town, program, signal))),
      (async () => { for (const fault of faults) await cause(town, fault) })()
    ]).finally(abort)
    if (complaints.flat().length > 0) throw new Error(complaints.flat().join('\n'))
  })
  await fc.assert(property, {
    numRuns: Math.ceil(Number(PROGRAMS) / PROGRAMS_PER_RUN),
    endOnFailure: FC_SEED === undefined,
    ...FC_SEED !== undefined && { seed: Number(FC_SEED) },
    ...FC_PATH !== undefined && { path: FC_PATH }
  })
})

function deadline (): { signal: AbortSignal, abort: () => void } {
  const controller = new AbortController()
  setMaxListeners(Infinity, controller.signal) // every client of a run listens
  const timer = setTimeout(() => { controller.abort() }, DEADLINE_MS)
  return {
    signal: controller.signal,
    abort () {
      clearTimeout(timer)
      controller.abort()
    }
  }
}
