import redis from '@fastify/redis'
import Fastify, { type FastifyInstance } from 'fastify'

/** A client of the very ioredis that the apps have; for a process that is no app. */
export interface RedisClient {
  redis: FastifyInstance['redis']
  close (): Promise<void>
}

export async function connectRedis (url: string): Promise<RedisClient> {
  const app = Fastify()
  await app.register(redis, { url })
  await app.ready()
  return { redis: app.redis, close: async () => { await app.close() } }
}
