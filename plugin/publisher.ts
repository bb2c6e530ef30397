import type { FastifyInstance } from 'fastify'
import type {} from '@fastify/redis'
import type { LimitedLog } from './limited-log.js'

/** The client that @fastify/redis decorates the app with. */
export type Redis = FastifyInstance['redis'][string]

export interface Publication {
  topic: string
  envelope: string
}

/**
 * Sends hints. Never throws and never waits: what is lost here, a reader finds in the journal.
 */
export interface Publisher {
  /** In the order given, in one write. */
  publish (publications: readonly Publication[]): void
}

/** Past this many hints without an answer, Redis is taken for frozen, and further ones are dropped rather than kept. */
const MAX_UNANSWERED = 10_000

export function createPublisher (redis: Redis, log: LimitedLog): Publisher {
  let unanswered = 0

  function failed (error: unknown): void {
    log.warn('publish', { err: error }, 'journal: a publish failed; readers will find the event in the journal')
  }

  return {
    publish (publications) {
      if (publications.length === 0) return
      if (redis.status !== 'ready' || unanswered > MAX_UNANSWERED) {
        failed(new Error(`Redis is ${redis.status}, with ${unanswered} publishes unanswered`))
        return
      }
      unanswered += publications.length
      const pipeline = redis.pipeline()
      for (const { topic, envelope } of publications) pipeline.publish(topic, envelope)
      pipeline.exec()
        .then((results) => {
          const error = results?.find(([error]) => error !== null)?.[0]
          if (error) failed(error)
        }, failed)
        .finally(() => { unanswered -= publications.length })
    }
  }
}
