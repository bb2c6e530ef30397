import redis from '@fastify/redis'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { createRateLimitedLogger, type RateLimitedLogger } from '../../plugin/util/rate-limited-logger.js'
import type { LogLine } from './app.js'

export interface RedisClient {
  redis: FastifyInstance['redis']
  log: RateLimitedLogger
  /** What was logged so far. */
  lines: LogLine[]
}

/** A client as an app has it, with a log and without an app's other parts; closed after the test. */
export async function startClient (t: Test, url = process.env.TEST_REDIS_URL ?? '', options: { stringNumbers?: boolean } = {}): Promise<RedisClient> {
  const lines: LogLine[] = []
  const app = Fastify({ logger: { stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } } })
  t.teardown(() => app.close())
  await app.register(redis, { url, ...options })
  app.redis.on('error', () => {}) // its server is stopped by some tests
  return { redis: app.redis, log: createRateLimitedLogger(app.log), lines }
}
