import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { startRedis } from '../../servers/redis.js'
import type { Message } from '../../plugin/index.js'
import { execute, type World } from '../helper/execute.js'
import { judgeAnswers, unknownOutcomes } from '../helper/judge.js'
import { nonsenseFor } from '../helper/nonsense.js'
import { databaseFaults, slowProgram } from '../helper/program.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'
import { runPrograms, type KnownFailure } from '../helper/run-programs.js'
import { cannotFreezeAll, ownPostgres } from '../helper/servers.js'
import { startTestCluster } from '../helper/test-cluster.js'

/** The longest of what is waited for below: then nothing is under way any more. */
const LONGEST_LIMIT_MS = 5_000
const PRODUCER_IDLE_MS = 2_000

/** Found by random programs. The seeds are those that they were found with. */
const KNOWN: KnownFailure[] = [
  // A terminal event that was not recorded came again
  { seed: 763280717, faults: [{ waitMs: 113, kind: 'blockLoop', ms: 143 }, { waitMs: 59, kind: 'dropLink', instance: 0, direction: 'toClient', ms: 4_555 }, { waitMs: 53, kind: 'terminateBackends' }] },
  // Producers of an app that alone was cut off for longer than producerIdleMs were ended
  { seed: 1017, faults: [{ waitMs: 175, kind: 'stallLink', instance: 0, direction: 'toServer', ms: 2_492 }, { waitMs: 134, kind: 'doublePublishes', count: 38 }, { waitMs: 206, kind: 'blockLoop', ms: 50 }] },
  // Events of a time that the clock has not reached again kept messages alive whose producer had died
  { seed: 2008, faults: [{ waitMs: 7, kind: 'stepClock', byMs: -40_978 }] },
  // A message without a lease was ended by the app that was not cut off
  { seed: 3006, faults: [{ waitMs: 244, kind: 'stepClock', byMs: -3_512 }, { waitMs: 1, kind: 'lockRow', ms: 8 }, { waitMs: 215, kind: 'stallLink', instance: 1, direction: 'toServer', ms: 2_508 }] },
  // Messages that were claimed while the table was locked, and that nobody went on with, were kept alive for ever
  { seed: 8032, faults: [{ waitMs: 59, kind: 'blockLoop', ms: 534 }, { waitMs: 3, kind: 'lockRow', ms: 3_342 }, { waitMs: 249, kind: 'lockTable', table: 'message_events', mode: 'share row exclusive', ms: 2_493 }] },
  // A living producer was ended, on a machine that had several times as much to do as it could
  { seed: 310029, faults: [{ waitMs: 4, kind: 'lockRow', ms: 272 }] }
]

t.test('whatever keeps Postgres from answering, readers get every committed event, and each answer agrees with the table', { ...NEEDS_REAL_REDIS, ...cannotFreezeAll !== false && { skip: cannotFreezeAll } }, async (t) => {
  const [redis, postgres] = await Promise.all([startRedis(), ownPostgres(t)])
  t.teardown(() => redis.stop())
  const messageIds = new Set<string>()
  const continuations = new Map<string, (message: Message) => Promise<void>>()
  const cluster = await startTestCluster(t, redis, {
    postgres,
    messageIds,
    maxConnectionsPerUser: 0,
    reconcileMs: 250,
    heartbeatMs: 250,
    producerIdleMs: PRODUCER_IDLE_MS,
    writeRetryMs: 1_500,
    maxDoubtMs: 3_000,
    takeOver: (message) => continuations.get(message.messageId) ?? null,
    nonsense: () => nonsenseFor(messageIds)
  })
  const world: World = { ...cluster, user: 'ada', messageIds, ledger: [], producerIdleMs: PRODUCER_IDLE_MS, continuations }
  t.comment(await runPrograms({
    under: 'with faults of the database',
    program: slowProgram,
    faults: databaseFaults,
    known: KNOWN,
    count: 24,
    atOnce: 12,
    execute: async (program, signal, faults) => await execute(world, program, signal, faults),
    inject: cluster.inject
  }))
  await delay(LONGEST_LIMIT_MS)
  t.same(await judgeAnswers(cluster.pool, world.ledger, unknownOutcomes(cluster.lines)), [])
  t.comment(`${world.ledger.length} answers, ${unknownOutcomes(cluster.lines).size} of them unknown`)
})
