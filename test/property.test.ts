import t from 'tap'
import { startRedis } from '../demo/services/redis.js'
import { messageTopic } from '../plugin/keys.js'
import { execute, type World } from './helper/execute.js'
import { program } from './helper/program.js'
import { NEEDS_REAL_REDIS } from './helper/real-redis.js'
import { runPrograms } from './helper/run-programs.js'
import { buildTown } from './helper/town.js'

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
  const redis = await startRedis()
  t.teardown(() => redis.stop())
  const messageIds = new Set<string>()
  const town = await buildTown(t, redis, {
    maxConnectionsPerUser: 0,
    reconcileMs: 250,
    heartbeatMs: 250,
    producerIdleMs: 4_000,
    nonsense: () => [...messageIds].map((messageId) => [messageTopic(messageId), nonsense(messageId)])
  })
  const world: World = { instance: town.instance, pool: town.pool, user: 'ada', messageIds }
  await runPrograms({
    program,
    count: 200,
    execute: async (program, signal) => await execute(world, program, signal),
    cause: town.cause
  })
})
