import slotOf from 'cluster-key-slot'
import type { RateLimitedLogger } from '../util/rate-limited-logger.js'
import type { Redis } from './commands.js'
import type { Subscriber, TopicListener } from './topic.js'

/** The commands of one kind of pub/sub. */
export interface Dialect {
  event: 'message' | 'smessage'
  subscribe (connection: Redis, topics: string[]): Promise<unknown>
  unsubscribe (connection: Redis, topics: string[]): Promise<unknown>
  /** Groups topics by the commands that may name them. */
  group (topics: string[]): Iterable<string[]>
}

/** Pub/sub of a single server. */
export const PLAIN: Dialect = {
  event: 'message',
  subscribe: async (connection, topics) => await connection.subscribe(...topics),
  unsubscribe: async (connection, topics) => await connection.unsubscribe(...topics),
  group: chunks
}

/**
 * Pub/sub on a node of a Cluster. A command may name topics of one slot:
 * https://redis.io/docs/latest/develop/pubsub/#sharded-pubsub
 */
export const SHARDED: Dialect = {
  event: 'smessage',
  subscribe: async (connection, topics) => await connection.ssubscribe(...topics),
  unsubscribe: async (connection, topics) => await connection.sunsubscribe(...topics),
  group: bySlot
}

/** What the subscriber's owner is told. */
export interface NodeSubscriberEvents {
  /** Called when `healthy` has changed. */
  onHealth (): void
  /**
   * Called when the node refuses topics, because their slots are elsewhere. After a look at the Cluster, `retry` is to
   * be called.
   */
  onMoved? (): void
}

/** A subscriber on one connection. */
export interface NodeSubscriber extends Subscriber {
  /** Sends the refused commands again. */
  retry (): void
}

const CHANNELS_PER_COMMAND = 500
/** How often Redis is sent a PING, in ms. A frozen Redis, or a dead link, is noticed after two of them. */
const PING_MS = 200
/** After how long without an answer to a PING the connection is replaced, in ms. */
const DEAD_MS = 5_000
const LAST_RETRY_MS = 1_000
/**
 * How long hints are not relied on after a reconnect, in ms. The clients that publish, in other processes too,
 * reconnect by ioredis' default strategy, which waits up to 2 s.
 */
const SETTLE_MS = 3_000

/** A subscriber on a connection of its own to the server of `redis`. */
export function createNodeSubscriber (
  redis: Redis, dialect: Dialect, log: RateLimitedLogger, { onHealth, onMoved }: NodeSubscriberEvents
): NodeSubscriber {
  const listeners = new Map<string, TopicListener>()
  /** The topics that the connection was told to subscribe to, each with the command that named it. */
  const sent = new Map<string, { acknowledged: boolean }>()
  const unacknowledged = new Set<{ acknowledged: boolean }>()
  const changed = new Set<string>()
  let scheduled = false
  let refused = false
  /** When the unanswered PING was sent. */
  let pingedAt: number | null = null
  let healthy = false
  let connected = false
  let settledAt = 0

  const connection = redis.duplicate({
    maxRetriesPerRequest: null,
    retryStrategy: (times: number) => Math.min(times * 50, LAST_RETRY_MS) * (0.5 + Math.random() / 2),
    enableOfflineQueue: false, // commands wait for `ready` in `listeners`, not in a queue of their own
    autoResubscribe: false, // done below, where the acknowledgement is seen
    lazyConnect: false,
    keyPrefix: ''
  })

  connection.on('error', (error) => {
    log.warn('subscriber', { err: error }, 'journal: the subscriber connection to Redis failed')
  })
  connection.on('close', () => { setHealthy(false) })
  connection.on('ready', () => {
    pingedAt = null
    if (connected) settledAt = performance.now() + SETTLE_MS
    connected = true
    sendAgain()
  })
  connection.on(dialect.event, (topic: string, text: string) => { listeners.get(topic)?.message(text) })
  // The error does not name the topic
  connection.on('moved', () => {
    refused = true
    setHealthy(false)
    onMoved?.()
  })

  const pinging = setInterval(() => {
    if (connection.status !== 'ready') return
    if (pingedAt === null) return ping()
    setHealthy(false)
    if (performance.now() - pingedAt < DEAD_MS) return
    pingedAt = performance.now() // it may take a while, and once is enough
    connection.disconnect(true)
  }, PING_MS)

  function ping (): void {
    pingedAt = performance.now()
    connection.ping().then(() => {
      pingedAt = null
      if (unacknowledged.size === 0 && !refused && performance.now() >= settledAt) setHealthy(true)
    }, notAnswered)
  }

  function setHealthy (now: boolean): void {
    if (healthy === now) return
    healthy = now
    onHealth()
  }

  function sendAgain (): void {
    refused = false
    sent.clear()
    unacknowledged.clear()
    for (const topic of listeners.keys()) changed.add(topic)
    schedule()
  }

  /** Sends all changes of one turn together. A topic that is left and joined again in one turn costs nothing. */
  function schedule (): void {
    if (scheduled) return
    scheduled = true
    queueMicrotask(flush)
  }

  function flush (): void {
    scheduled = false
    if (connection.status !== 'ready') return
    const topics = [...changed]
    changed.clear()
    for (const topic of topics) if (sent.get(topic)?.acknowledged === true) listeners.get(topic)?.subscribed()
    for (const some of dialect.group(topics.filter((topic) => listeners.has(topic) &&
      !sent.has(topic)))) sendSubscribe(some)
    for (const some of dialect.group(topics.filter((topic) => !listeners.has(topic) && sent.delete(topic)))) {
      dialect.unsubscribe(connection, some).catch(notAnswered)
    }
  }

  function sendSubscribe (topics: string[]): void {
    const command = { acknowledged: false }
    for (const topic of topics) sent.set(topic, command)
    unacknowledged.add(command)
    dialect.subscribe(connection, topics).then(() => {
      command.acknowledged = true
      unacknowledged.delete(command)
      for (const topic of topics) if (sent.get(topic) === command) listeners.get(topic)?.subscribed()
    }, notAnswered)
  }

  /** The connection has failed, and `ready` sends everything again. Or the topics have moved, and `retry` does. */
  function notAnswered (error: unknown): void {
    log.warn('subscriber', { err: error }, 'journal: the subscriber connection to Redis gave no answer')
  }

  return {
    get healthy () { return healthy },
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
    /* c8 ignore next -- whether it was refused by then depends on what else moves at the time */
    retry () { if (refused) sendAgain() },
    close () {
      clearInterval(pinging)
      listeners.clear()
      connection.disconnect()
    }
  }
}

function bySlot (topics: string[]): Iterable<string[]> {
  const slots = new Map<number, string[]>()
  for (const topic of topics) {
    const slot = slotOf(topic)
    slots.set(slot, [...slots.get(slot) ?? [], topic])
  }
  return slots.values()
}

function * chunks (topics: string[]): Generator<string[]> {
  for (let from = 0; from < topics.length; from += CHANNELS_PER_COMMAND) {
    yield topics.slice(from, from +
    CHANNELS_PER_COMMAND)
  }
}
