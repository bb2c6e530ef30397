import { setTimeout as delay } from 'node:timers/promises'
import type { Bench } from './bench.js'
import { CheckError } from './check-error.js'
import { connectRedis } from './redis.js'
import { keyOf, messageIdSql, PAYLOAD_BYTES, payloadOf, payloadSql } from './workload.js'

const PUBLISH_TIMEOUT_MS = 5_000
const PUBLISH_POLL_MS = 20

export function expectEqual (what: string, actual: number, expected: number): void {
  if (actual !== expected) throw new CheckError(`${what}: ${actual}, where ${expected} were expected`)
}

/**
 * From the message of this index on, the table holds exactly so many answer events, those of each message numbered from 0 without a
 * gap, and every payload is the one that was written, byte for byte.
 */
export async function checkRows (bench: Pick<Bench, 'query'>, events: number, firstMessage = 0): Promise<void> {
  const [found] = await bench.query<{ rows: number, dense: boolean, bytes: number, wrong: number }>(`
    select coalesce(sum(rows), 0)::int as rows, coalesce(bool_and(first = 0 and last = rows - 1), true) as dense,
      coalesce(sum(bytes), 0)::float8 as bytes, coalesce(sum(wrong), 0)::int as wrong
    from (
      select count(*) as rows, min(sequence_no) as first, max(sequence_no) as last, sum(octet_length(payload::text)) as bytes,
        count(*) filter (where payload::text <> ${payloadSql('message_id', 'sequence_no')}) as wrong
      from message_events where message_id >= ${messageIdSql(String(firstMessage))} group by message_id
    ) message`)
  expectEqual('rows in the table', found?.rows ?? NaN, events)
  expectEqual('bytes in the table', found?.bytes ?? NaN, events * PAYLOAD_BYTES)
  expectEqual('rows with other bytes than were written', found?.wrong ?? NaN, 0)
  if (found?.dense !== true) throw new CheckError('the numbers of a message have a gap')
}

/**
 * The users' streams hold so many notifications, those of each numbered from 0 without a gap, with the payloads that were written.
 */
export async function checkStreams (redisUrl: string, userIds: readonly string[], events: number): Promise<void> {
  const { redis, close } = await connectRedis(redisUrl)
  try {
    let found = 0
    for (const userId of userIds) {
      const entries = await redis.xrange(`user:${userId}:stream`, '-', '+')
      for (const [n, [id, [, envelope]]] of entries.entries()) {
        if (envelope?.endsWith(`"payload":${JSON.stringify(payloadOf(keyOf(userId), n))}}`) !== true) throw new CheckError(`entry ${id} of ${userId} is ${envelope}`)
      }
      found += entries.length
    }
    expectEqual('notifications in Redis', found, events)
  } finally {
    await close()
  }
}

/** Redis has executed so many PUBLISH commands since it had executed `before`; the last ones may still be under way. */
export async function checkPublishes (bench: Pick<Bench, 'publishes'>, before: number, events: number): Promise<void> {
  const until = performance.now() + PUBLISH_TIMEOUT_MS
  while (await bench.publishes() - before < events && performance.now() < until) await delay(PUBLISH_POLL_MS)
  expectEqual('events published', await bench.publishes() - before, events)
}
