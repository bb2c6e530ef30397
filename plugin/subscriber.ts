import type { LimitedLog } from './limited-log.js'
import type { Redis } from './redis.js'

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
  /**
   * Redis answers: its last PING was answered in time, every topic's subscription is acknowledged, and, after a
   * reconnect, the publishers have had time to come back too.
   */
  readonly healthy: boolean
  /** There is a connection; whether anybody answers on it is another matter. */
  readonly connected: boolean
  subscribe (topic: string, listener: TopicListener): void
  unsubscribe (topic: string): void
  close (): void
}

const CHANNELS_PER_COMMAND = 500
/** A Redis that is frozen, or behind a dead link, is noticed after two of these, in ms. */
const PING_MS = 200
/** How long an unanswered PING may be outstanding before the connection is given up for a new one, in ms. */
const DEAD_MS = 5_000
const LAST_RETRY_MS = 1_000
/**
 * How long after a reconnect hints are not relied on, in ms: the publishing clients, those of other processes among
 * them, are the apps' own, and may come back as late as ioredis' default retry strategy has it (2 s).
 */
const SETTLE_MS = 3_000

/** `onHealth` is called whenever `healthy` has changed. */
export function createSubscriber (redis: Redis, log: LimitedLog, onHealth: (healthy: boolean) => void): Subscriber {
  const listeners = new Map<string, TopicListener>()
  /** The topics that the connection was told to subscribe to, each with the command that did it. */
  const sent = new Map<string, { acknowledged: boolean }>()
  const changed = new Set<string>()
  let scheduled = false
  let unacknowledged = 0
  /** When the PING that is not answered yet was sent. */
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
    sent.clear()
    unacknowledged = 0
    pingedAt = null
    if (connected) settledAt = performance.now() + SETTLE_MS
    connected = true
    for (const topic of listeners.keys()) changed.add(topic)
    schedule()
  })
  connection.on('message', (topic, text) => { listeners.get(topic)?.message(text) })

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
      if (unacknowledged === 0 && performance.now() >= settledAt) setHealthy(true)
    }, notAnswered)
  }

  function setHealthy (now: boolean): void {
    if (healthy === now) return
    healthy = now
    onHealth(now)
  }

  /** All changes of one turn go out together, and a topic left and joined again in one turn costs nothing. */
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
    for (const some of chunks(topics.filter((topic) => listeners.has(topic) && !sent.has(topic)))) sendSubscribe(some)
    for (const some of chunks(topics.filter((topic) => !listeners.has(topic) && sent.delete(topic)))) {
      connection.unsubscribe(...some).catch(notAnswered)
    }
  }

  function sendSubscribe (topics: string[]): void {
    const command = { acknowledged: false }
    for (const topic of topics) sent.set(topic, command)
    unacknowledged++
    connection.subscribe(...topics).then(() => {
      command.acknowledged = true
      for (const topic of topics) if (sent.get(topic) === command) listeners.get(topic)?.subscribed()
      unacknowledged--
    }, notAnswered)
  }

  /** The connection has failed: `ready` sends everything again. */
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
    close () {
      clearInterval(pinging)
      listeners.clear()
      connection.disconnect()
    }
  }
}

function * chunks (topics: string[]): Generator<string[]> {
  for (let from = 0; from < topics.length; from += CHANNELS_PER_COMMAND) yield topics.slice(from, from + CHANNELS_PER_COMMAND)
}
