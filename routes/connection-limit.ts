import { randomUUID } from 'node:crypto'
import { TooManyConnectionsError } from '../plugin/errors.js'
import { slotsKey } from '../plugin/wire/names.js'
import type { RateLimitedLogger } from '../plugin/util/rate-limited-logger.js'
import { ask, type Redis } from '../plugin/redis/commands.js'

/**
 * Counts the open streams of each user, over all processes. A process keeps its count in a field of the user's hash,
 * and renews the field while it lives. After a kill, the field runs out within EXPIRY_MS. While Redis is away, nobody
 * is refused.
 */
export interface Slots {
  /**
   * Acquires a slot for the user, and resolves with its release function. Anonymous readers are not counted. @throws
   * TooManyConnectionsError
   */
  take (userId: string | null): Promise<() => void>
  /** Renews this process's counts. Never rejects. */
  renew (): Promise<void>
  /** Releases all slots of this process at once. Does nothing from then on. Never rejects. */
  close (): Promise<void>
}

/** How often `renew` should be called, in ms. */
export const RENEW_MS = 20_000
const EXPIRY_MS = 50_000
/** How long a reader waits for Redis, in ms. */
const TIMEOUT_MS = 500

/** One key a call, for Redis Cluster. It uses Redis' clock, because the processes' clocks differ. */
const COUNT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local mine, max, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local others = 0
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local count, expires = string.match(fields[i + 1], '^(%d+):(%d+)$')
  if not count or tonumber(expires) <= now then redis.call('HDEL', KEYS[1], fields[i])
  elseif fields[i] ~= mine then others = others + tonumber(count) end
end
local allowed = max == 0 or others + wanted <= max
if not allowed then wanted = wanted - 1 end
if wanted > 0 then
  redis.call('HSET', KEYS[1], mine, string.format('%d:%.0f', wanted, now + ${EXPIRY_MS}))
  redis.call('PEXPIRE', KEYS[1], ${EXPIRY_MS})
else redis.call('HDEL', KEYS[1], mine) end
return allowed and 1 or 0`

/** `max`: the option `maxConnectionsPerUser`; 0: no limit. */
export function createSlots (redis: Redis, max: number, log: RateLimitedLogger): Slots {
  const process = randomUUID()
  const open = new Map<string, number>()
  let closed = false

  /** Sets this process's count of the user, within `limit` over all processes; 0: no limit. */
  async function count (userId: string, streams: number, limit: number): Promise<boolean> {
    try {
      return Number(await ask(redis, TIMEOUT_MS, ['EVAL', COUNT, 1, slotsKey(
        userId), process, limit, streams])) !== 0 // with `stringNumbers` it is a text
    } catch (error) {
      log.warn('slots', { err: error }, 'journal: Redis could not count a user\'s open streams')
      return true
    }
  }

  function add (userId: string, streams: number): number {
    const total = (open.get(userId) ?? 0) + streams
    if (total === 0) open.delete(userId)
    else open.set(userId, total)
    return total
  }

  return {
    async take (userId) {
      if (userId === null || max === 0) return () => {}
      const takeOff = () => { if (!closed) count(userId, add(userId, -1), 0) }
      if (await count(userId, add(userId, 1), max)) return takeOff
      takeOff() // what was sent of the user's other streams meanwhile had this one in it
      throw new TooManyConnectionsError(max)
    },
    async renew () {
      await Promise.all([...open].map(async ([userId, streams]) => await count(userId, streams, 0)))
    },
    async close () {
      closed = true
      await Promise.all([...open.keys()].map(async (userId) => await count(userId, 0, 0)))
    }
  }
}
