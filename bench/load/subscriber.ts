/** A process of the benchmark: a Redis subscriber, and when each frame reached it. */
import { monotonicMs } from '../harness/clock.js'
import { connectRedis, type RedisClient } from '../harness/redis.js'
import { serve } from '../harness/serve.js'
import { frameOf, keyOf } from '../harness/workload.js'
import { createArrivals } from './arrivals.js'

const arrivals = createArrivals()
let client: RedisClient | null = null
let next = 0

const methods = {
  async subscribe (redisUrl: string, messageId: string): Promise<void> {
    await methods.close()
    client = await connectRedis(redisUrl)
    client.redis.on('message', (_channel, text) => {
      if (text !== frameOf('plain', keyOf(messageId), next)) return arrivals.fail(new Error(`after message ${next - 1} came ${text}`))
      arrivals.set(next++, monotonicMs())
    })
    await client.redis.subscribe(messageId)
  },
  received: async (n: number) => await arrivals.until(n),
  async close (): Promise<void> {
    await client?.close()
    client = null
    next = 0
    arrivals.clear()
  }
}

export type SubscriberMethods = typeof methods
serve(methods, methods.close)
