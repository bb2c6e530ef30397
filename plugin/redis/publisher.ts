import type { RateLimitedLogger } from '../util/rate-limited-logger.js'
import { execute, isCluster, type Redis } from './commands.js'

/** A hint for the subscribers of a topic. */
export interface Publication {
  topic: string
  envelope: string
}

/** Sends hints. Never throws and never waits. A reader finds a lost hint's event in the journal. */
export interface Publisher {
  /** Publishes in this order, in one write; with a Cluster, in a write each. */
  publish (publications: readonly Publication[]): void
  /** Stops publishing. */
  close (): void
}

/** Past this many unanswered hints, Redis counts as frozen, and further hints are dropped. */
const MAX_UNANSWERED = 10_000
/**
 * From this many on, one script publishes all of them, because a command each costs this process more than anything
 * else that it does for an event.
 */
const SCRIPT_FROM = 16
const PUBLISH_ALL = "for i = 1, #ARGV, 2 do redis.call('PUBLISH', ARGV[i], ARGV[i + 1]) end"

/** Publishes by the app's own client. */
export function createPublisher (redis: Redis, log: RateLimitedLogger): Publisher {
  let unanswered = 0
  let closed = false
  let mayScript = !isCluster(redis)

  function failed (error: unknown): void {
    log.warn('publish', { err: error }, 'journal: a publish failed; readers will find the event in the journal')
  }

  async function publishByScript (publications: readonly Publication[]): Promise<void> {
    try {
      await redis.eval(PUBLISH_ALL, 0, ...publications.flatMap(({ topic, envelope }) => [topic, envelope]))
    } catch (error) {
      if (redis.status !== 'ready') throw error
      mayScript = false // scripts are not allowed here, or one of the topics is not
      await publishEach(publications)
    }
  }

  /** Rejects with the first failure after all are answered. */
  async function publishEach (publications: readonly Publication[]): Promise<void> {
    const [first] = publications
    if (publications.length === 1 && first !== undefined) {
      await redis.publish(first.topic, first.envelope)
      return
    }
    const pipeline = redis.pipeline()
    for (const { topic, envelope } of publications) pipeline.publish(topic, envelope)
    for (const [error] of await execute(pipeline)) if (error !== null) throw error
  }

  async function publishSharded (publications: readonly Publication[]): Promise<void> {
    const answers = await Promise.allSettled(publications.map(({ topic, envelope }) => redis.spublish(topic, envelope)))
    for (const answer of answers) if (answer.status === 'rejected') throw answer.reason
  }

  return {
    publish (publications) {
      if (publications.length === 0 || closed) return
      if (redis.status !== 'ready' || unanswered > MAX_UNANSWERED) {
        failed(new Error(`Redis is ${redis.status}, with ${unanswered} publishes unanswered`))
        return
      }
      unanswered += publications.length
      const publish = isCluster(redis)
        ? publishSharded
        : mayScript && publications.length >= SCRIPT_FROM ? publishByScript : publishEach
      publish(publications)
        .catch(failed)
        .finally(() => { unanswered -= publications.length })
    },
    close () { closed = true }
  }
}
