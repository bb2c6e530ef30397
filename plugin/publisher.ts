import type { LimitedLog } from './limited-log.js'
import { isCluster, type Redis } from './redis.js'

export interface Publication {
  topic: string
  envelope: string
}

/**
 * Sends hints. Never throws and never waits: what is lost here, a reader finds in the journal.
 */
export interface Publisher {
  /** In the order given, in one write; with a Cluster, where topics are on different nodes, in a write each. */
  publish (publications: readonly Publication[]): void
}

/** Past this many hints without an answer, Redis is taken for frozen, and further ones are dropped rather than kept. */
const MAX_UNANSWERED = 10_000

export function createPublisher (redis: Redis, log: LimitedLog): Publisher {
  let unanswered = 0

  function failed (error: unknown): void {
    log.warn('publish', { err: error }, 'journal: a publish failed; readers will find the event in the journal')
  }

  /** Rejects with the first failure once all are answered. */
  async function send (publications: readonly Publication[]): Promise<void> {
    if (isCluster(redis)) {
      const answers = await Promise.allSettled(publications.map(({ topic, envelope }) => redis.spublish(topic, envelope)))
      for (const answer of answers) if (answer.status === 'rejected') throw answer.reason
      return
    }
    const pipeline = redis.pipeline()
    for (const { topic, envelope } of publications) pipeline.publish(topic, envelope)
    const answers = await pipeline.exec() ?? []
    for (const [error] of answers) if (error !== null) throw error
  }

  return {
    publish (publications) {
      if (publications.length === 0) return
      if (redis.status !== 'ready' || unanswered > MAX_UNANSWERED) {
        failed(new Error(`Redis is ${redis.status}, with ${unanswered} publishes unanswered`))
        return
      }
      unanswered += publications.length
      send(publications)
        .catch(failed)
        .finally(() => { unanswered -= publications.length })
    }
  }
}
