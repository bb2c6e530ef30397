import { createClusterSubscriber } from './cluster-subscriber.js'
import type { RateLimitedLogger } from '../util/rate-limited-logger.js'
import { createNodeSubscriber, PLAIN } from './node-subscriber.js'
import { isCluster, type Redis } from './commands.js'
import type { Subscriber } from './topic.js'

/** `onHealth` is called whenever `healthy` has changed. */
export function createSubscriber (redis: Redis, log: RateLimitedLogger, onHealth: () => void): Subscriber {
  return isCluster(redis)
    ? createClusterSubscriber(redis, log, onHealth)
    : createNodeSubscriber(redis, PLAIN, log, { onHealth })
}
