import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { startRedis } from '../demo/services/redis.js'
import type { Message } from '../plugin/index.js'
import { execute, type World } from './helper/execute.js'
import { judgeAnswers, unknownOutcomes } from './helper/judge.js'
import { nonsenseFor } from './helper/nonsense.js'
import { databaseFaults, program } from './helper/program.js'
import { NEEDS_REAL_REDIS } from './helper/real-redis.js'
import { runPrograms } from './helper/run-programs.js'
import { cannotFreezeAll, ownPostgres } from './helper/servers.js'
import { buildTown } from './helper/town.js'

/** The longest of what is waited for below: then nothing is under way any more. */
const LONGEST_LIMIT_MS = 5_000

t.test('whatever keeps Postgres from answering, readers get every committed event, and each answer agrees with the table', { ...NEEDS_REAL_REDIS, ...cannotFreezeAll !== false && { skip: cannotFreezeAll } }, async (t) => {
  const [redis, postgres] = await Promise.all([startRedis(), ownPostgres(t)])
  t.teardown(() => redis.stop())
  const messageIds = new Set<string>()
  const continuations = new Map<string, (message: Message) => Promise<void>>()
  const town = await buildTown(t, redis, {
    postgres,
    messageIds,
    maxConnectionsPerUser: 0,
    reconcileMs: 250,
    heartbeatMs: 250,
    producerIdleMs: 2_000,
    writeRetryMs: 1_500,
    maxDoubtMs: 3_000,
    takeOver: (message) => continuations.get(message.messageId) ?? null,
    nonsense: () => nonsenseFor(messageIds)
  })
  const world: World = { instance: town.instance, pool: town.pool, lines: town.lines, user: 'ada', messageIds, ledger: [], continuations }
  t.comment(await runPrograms({
    program,
    faults: databaseFaults,
    count: 36,
    atOnce: 12,
    deadlineMs: 60_000,
    execute: async (program, signal, faults) => await execute(world, program, signal, faults),
    cause: town.cause
  }))
  await delay(LONGEST_LIMIT_MS)
  t.same(await judgeAnswers(town.pool, world.ledger, unknownOutcomes(town.lines)), [])
  t.comment(`${world.ledger.length} answers, ${unknownOutcomes(town.lines).size} of them unknown`)
})
