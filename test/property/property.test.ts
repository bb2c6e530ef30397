import t from 'tap'
import { startRedis } from '../../servers/redis.js'
import { execute, type World } from '../helper/execute.js'
import { judgeAnswers, unknownOutcomes } from '../helper/judge.js'
import { nonsenseFor } from '../helper/nonsense.js'
import { faults, program } from '../helper/program.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'
import { runPrograms } from '../helper/run-programs.js'
import { startTestCluster } from '../helper/test-cluster.js'

const PRODUCER_IDLE_MS = 4_000

t.test('every reader gets every committed event exactly once, in order, and then the end', NEEDS_REAL_REDIS, async (t) => {
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const messageIds = new Set<string>()
  const cluster = await startTestCluster(t, redis, {
    maxConnectionsPerUser: 0,
    reconcileMs: 250,
    heartbeatMs: 250,
    producerIdleMs: PRODUCER_IDLE_MS,
    nonsense: () => nonsenseFor(messageIds)
  })
  const world: World = { ...cluster, user: 'ada', messageIds, ledger: [], producerIdleMs: PRODUCER_IDLE_MS }
  t.comment(await runPrograms({
    under: 'without faults of the database',
    program,
    faults,
    count: 200,
    execute: async (program, signal, faults) => await execute(world, program, signal, faults),
    inject: cluster.inject
  }))
  t.same(await judgeAnswers(cluster.pool, world.ledger, unknownOutcomes(cluster.lines)), [])
})
