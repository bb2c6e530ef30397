import type { FastifyInstance } from 'fastify'
import type {} from '@fastify/redis'

/** What becomes of the publishes that an app sends. */
export type Mishap = 'lose' | 'double' | 'delay'

const DELAY_MS = 50

/** Makes an app's Redis client mishandle publishes: the function that is returned says how, and how many of the next. */
export function makeLossy (redis: FastifyInstance['redis']): (mishap: Mishap, count: number) => void {
  const due: Mishap[] = []
  const createPipeline = redis.pipeline.bind(redis)
  redis.pipeline = (...commands) => {
    const pipeline = createPipeline(...commands)
    const publish = pipeline.publish.bind(pipeline)
    pipeline.publish = (topic: string | Buffer, text: string | Buffer) => {
      const mishap = due.pop()
      if (mishap === 'lose') return pipeline
      if (mishap === 'delay') {
        setTimeout(() => { if (redis.status === 'ready') redis.publish(topic, text).catch(() => {}) }, DELAY_MS)
        return pipeline
      }
      if (mishap === 'double') publish(topic, text)
      return publish(topic, text)
    }
    return pipeline
  }
  return (mishap, count) => { due.push(...Array<Mishap>(count).fill(mishap)) }
}
