import t from 'tap'
import { userTopic } from '../../plugin/wire/names.js'
import { faults } from '../helper/program.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'
import { startClient } from '../helper/redis-client.js'
import { runPrograms } from '../helper/run-programs.js'
import { ownRedis } from '../helper/servers.js'
import { startTestCluster } from '../helper/test-cluster.js'
import { executeUser, type UserWorld } from '../helper/user-execute.js'
import { userProgram } from '../helper/user-program.js'

/** Text that is no envelope, and envelopes of entries that are not in the stream. */
const NONSENSE = [
  '', 'null', '[]', '{"id":', '\0', '{}',
  ...['1-', '-5', '1-2-3', '9'.repeat(40), '5-5', '99999999999999-0', '18446744073709551615-18446744073709551615', 7, null, {}]
    .map((id) => JSON.stringify({ type: 'nonsense', payload: {}, id }))
]

t.test('no entry that is still in the stream is lost, doubled or reordered, and of what is gone the reader is told', NEEDS_REAL_REDIS, async (t) => {
  const redis = await ownRedis(t, 'always')
  const users = new Set<string>()
  const cluster = await startTestCluster(t, redis, {
    maxConnectionsPerUser: 0,
    notifications: { maxReplaysPerUser: 0, streamMaxEntries: 10_000, replayMaxPerRequest: 20 },
    reconcileMs: 250,
    nonsense: () => [...users].map((user) => [userTopic(user), NONSENSE])
  })
  const world: UserWorld = { instance: cluster.instance, redis: (await startClient(t, redis.url)).redis, users }
  t.comment(await runPrograms({
    under: 'without faults of the database',
    faults,
    program: userProgram,
    count: 100,
    execute: async (program, signal) => await executeUser(world, program, signal),
    inject: cluster.inject
  }))
})
