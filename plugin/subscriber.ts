import type { LimitedLog } from './limited-log.js'
import type { Redis } from './publisher.js'

/** What a topic's owner is told. Neither method may throw. */
export interface TopicListener {
  /**
   * Redis has acknowledged a subscription to the topic: every publish from now on arrives. Called again after each
   * reconnect, since what was published meanwhile is gone: read the journal.
   */
  subscribed (): void
  message (text: string): void
}

/**
 * One Redis connection for all topics of this process. A topic is subscribed once, whatever the number of viewers.
 */
export interface Subscriber {
  /** Whether Redis can be asked at the moment. */
  readonly connected: boolean
  subscribe (topic: string, listener: TopicListener): void
  unsubscribe (topic: string): void
  close (): void
}

const CHANNELS_PER_COMMAND = 500

export function createSubscriber (redis: Redis, log: LimitedLog): Subscriber {
  const listeners = new Map<string, TopicListener>()
  /** The topics that the connection was told to subscribe to, each with the command that did it. */
  const sent = new Map<string, { acknowledged: boolean }>()
  const changed = new Set<string>()
  let scheduled = false

  const connection = redis.duplicate({
    maxRetriesPerRequest: null,
    enableOfflineQueue: false, // commands wait for `ready` in `listeners`, not in a queue of their own
    autoResubscribe: false, // done below, where the acknowledgement is seen
    lazyConnect: false,
    keyPrefix: ''
  })

  connection.on('error', (error) => {
    log.warn('subscriber', { err: error }, 'journal: the subscriber connection to Redis failed')
  })
  connection.on('ready', () => {
    sent.clear()
    for (const topic of listeners.keys()) changed.add(topic)
    schedule()
  })
  connection.on('message', (topic, text) => { listeners.get(topic)?.message(text) })

  /** All changes of one turn go out together, and a topic left and joined again in one turn costs nothing. */
  function schedule (): void {
    if (scheduled) return
    scheduled = true
    queueMicrotask(() => {
      scheduled = false
      if (connection.status !== 'ready') return
      const topics = [...changed]
      changed.clear()
      for (const topic of topics) if (sent.get(topic)?.acknowledged === true) listeners.get(topic)?.subscribed()
      for (const some of chunks(topics.filter((topic) => listeners.has(topic) && !sent.has(topic)))) sendSubscribe(some)
      for (const some of chunks(topics.filter((topic) => !listeners.has(topic) && sent.delete(topic)))) {
        connection.unsubscribe(...some).catch(notAnswered)
      }
    })
  }

  function sendSubscribe (topics: string[]): void {
    const command = { acknowledged: false }
    for (const topic of topics) sent.set(topic, command)
    connection.subscribe(...topics).then(() => {
      command.acknowledged = true
      for (const topic of topics) if (sent.get(topic) === command) listeners.get(topic)?.subscribed()
    }, notAnswered)
  }

  /** The connection has failed: `ready` sends everything again. */
  function notAnswered (error: unknown): void {
    log.warn('subscriber', { err: error }, 'journal: Redis did not answer a subscription')
  }

  return {
    get connected () { return connection.status === 'ready' },
    subscribe (topic, listener) {
      listeners.set(topic, listener)
      changed.add(topic)
      schedule()
    },
    unsubscribe (topic) {
      listeners.delete(topic)
      changed.add(topic)
      schedule()
    },
    close () {
      listeners.clear()
      connection.disconnect()
    }
  }
}

function * chunks (topics: string[]): Generator<string[]> {
  for (let from = 0; from < topics.length; from += CHANNELS_PER_COMMAND) yield topics.slice(from, from + CHANNELS_PER_COMMAND)
}
