import { askRedis } from '../../servers/redis.js'

/** What a scenario asks of the Redis server itself. */
export interface RedisControl {
  clearRedis (): Promise<void>
  /** How many connections of Redis are subscribed to something. */
  subscribers (): Promise<number>
  /** How many PUBLISH commands Redis has executed so far. */
  publishes (): Promise<number>
}

export function createRedisControl (url: string): RedisControl {
  return {
    clearRedis: async () => { await askRedis(url, 'FLUSHALL') },
    async publishes () {
      const stats = await askRedis(url, 'INFO', 'commandstats')
      return Number(/^cmdstat_publish:calls=(\d+)/m.exec(stats)?.[1] ?? 0)
    },
    async subscribers () {
      const list = await askRedis(url, 'CLIENT', 'LIST')
      return list.match(/ flags=\w*P/g)?.length ?? 0
    }
  }
}
