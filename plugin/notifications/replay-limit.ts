import { ReplayBudgetError } from '../errors.js'
import { replaysKey } from '../wire/names.js'
import type { RateLimitedLogger } from '../util/rate-limited-logger.js'
import { ask, type Redis } from '../redis/commands.js'

/** How many replays a user has. */
export interface ReplayBudgetOptions {
  /** How many replays a user has within `replayWindowMs`; 0: no limit. */
  maxReplaysPerUser: number
  replayWindowMs: number
}

/** Counts one replay of the user. A failing Redis lets the reader in. @throws ReplayBudgetError */
export type SpendReplay = (userId: string) => Promise<void>

const TIMEOUT_MS = 500

/** The window begins with the first replay. Refused ones do not extend it. A key without an expiry gets one. */
const SPEND = `
local spent = redis.call('INCR', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  left = tonumber(ARGV[1])
  redis.call('PEXPIRE', KEYS[1], left)
end
return {spent, left}`

/** Counts replays in Redis, over all processes. */
export function createReplayLimit (
  redis: Redis, log: RateLimitedLogger, { maxReplaysPerUser, replayWindowMs }: ReplayBudgetOptions
): SpendReplay {
  async function spend (userId: string): Promise<[spent: number, leftMs: number]> {
    try {
      const answer = await ask(redis, TIMEOUT_MS, ['EVAL', SPEND, 1, replaysKey(userId), replayWindowMs])
      const [spent, leftMs] = answer as [number, number] // what the script returns
      return [Number(spent), Number(leftMs)] // with `stringNumbers` they are texts
    } catch (error) {
      log.warn('replays', { err: error }, 'journal: Redis could not count a user\'s replays')
      return [0, 0]
    }
  }

  return async (userId) => {
    if (maxReplaysPerUser === 0) return
    const [spent, leftMs] = await spend(userId)
    if (spent > maxReplaysPerUser) throw new ReplayBudgetError(Math.ceil(leftMs / 1_000))
  }
}
