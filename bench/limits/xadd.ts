/** What Redis takes by a client that does nothing else: XADD and PUBLISH, in pipelines. */
import { connectRedis, type RedisClient } from '../harness/redis.js'
import { serve } from '../harness/serve.js'
import { notificationOf } from '../harness/workload.js'

let client: RedisClient | null = null

const methods = {
  async start (redisUrl: string): Promise<void> { client = await connectRedis(redisUrl) },

  /** Notifications of these users in turn; so many to a pipeline, with an XADD and a PUBLISH each, and so many pipelines under way. */
  async publish (userIds: string[], perPipeline: number, inFlight: number, durationMs: number): Promise<{ events: number, elapsedMs: number }> {
    let next = 0
    const startedAt = performance.now()

    async function send (): Promise<void> {
      while (performance.now() < startedAt + durationMs) {
        const pipeline = client?.redis.pipeline()
        for (const until = next + perPipeline; next < until; next++) {
          const userId = userIds[next % userIds.length] ?? ''
          const envelope = notificationOf(userId, Math.floor(next / userIds.length))
          pipeline?.xadd(`user:${userId}:stream`, 'MAXLEN', '~', 1_000, '*', 'event', envelope)
          pipeline?.publish(`user:${userId}`, envelope)
        }
        for (const [error] of await pipeline?.exec() ?? []) if (error !== null) throw error
      }
    }

    await Promise.all(Array.from({ length: inFlight }, send))
    return { events: next, elapsedMs: performance.now() - startedAt }
  }
}

export type XaddMethods = typeof methods
serve(methods, async () => { await client?.close() })
