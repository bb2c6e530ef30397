import slotOf from 'cluster-key-slot'
import type { RateLimitedLogger } from '../util/rate-limited-logger.js'
import { createNodeSubscriber, SHARDED, type NodeSubscriber } from './node-subscriber.js'
import type { Redis } from './commands.js'
import type { Subscriber, TopicListener } from './topic.js'

/** The part of ioredis' Cluster that is used. @fastify/redis types it as a Redis. */
interface Cluster {
  /** For each slot, the nodes that serve it as `host:port`, its master first. Empty until the Cluster is known. */
  readonly slots: ReadonlyArray<readonly string[] | undefined>
  nodes (role: 'master'): Redis[]
  refreshSlotsCache (): void
  on (event: 'refresh', listener: () => void): void
  off (event: 'refresh', listener: () => void): void
}

/** How often the Cluster is asked for its slots while a topic has no node, in ms. */
const REFRESH_MS = 500

/**
 * Sharded pub/sub: subscribes each topic at the node that serves its slot, and follows the slot when it moves. A node
 * has a connection while it has topics.
 */
export function createClusterSubscriber (redis: Redis, log: RateLimitedLogger, onHealth: () => void): Subscriber {
  const cluster = redis as unknown as Cluster // `isCluster` is true
  const nodes = new Map<string, NodeSubscriber>()
  const topics = new Map<string, { listener: TopicListener, node: string | undefined }>()
  /** Topics whose node is unknown. */
  const adrift = new Set<string>()
  let healthy = false

  function connect (key: string): NodeSubscriber | undefined {
    const open = nodes.get(key)
    if (open !== undefined) return open
    const client = cluster.nodes('master').find(({ options }) => `${options.host}:${options.port}` === key)
    /* c8 ignore next -- a test can move slots, but not stop the client before it knows their new node */
    if (client === undefined) return undefined
    const node = createNodeSubscriber(
      client, SHARDED, log, { onHealth: look, onMoved: () => { cluster.refreshSlotsCache() } })
    nodes.set(key, node)
    return node
  }

  /** Subscribes the topic at the node that serves its slot now, unless it is subscribed there. */
  function place (topic: string, listener: TopicListener, from: string | undefined): void {
    const key = cluster.slots[slotOf(topic)]?.[0]
    if (key !== undefined && key === from) return
    if (from !== undefined) nodes.get(from)?.unsubscribe(topic)
    /* c8 ignore next 4 -- as above: a topic is without a node for as long as the client does not know its slot's */
    const node = key === undefined ? undefined : connect(key)
    topics.set(topic, { listener, node: node === undefined ? undefined : key })
    if (node === undefined) adrift.add(topic)
    else adrift.delete(topic)
    node?.subscribe(topic, listener)
  }

  function placeAll (): void {
    for (const [topic, { listener, node }] of topics) place(topic, listener, node)
    const used = new Set([...topics.values()].map(({ node }) => node))
    for (const [key, node] of nodes) {
      if (used.has(key)) node.retry()
      else {
        nodes.delete(key)
        node.close()
      }
    }
    look()
  }

  function look (): void {
    const now = adrift.size === 0 && [...nodes.values()].every((node) => node.healthy)
    if (now === healthy) return
    healthy = now
    onHealth()
  }

  const refreshing = setInterval(() => { if (!healthy) cluster.refreshSlotsCache() }, REFRESH_MS)
  cluster.on('refresh', placeAll)

  return {
    get healthy () { return healthy },
    get connected () { return [...nodes.values()].some((node) => node.connected) },
    subscribe (topic, listener) {
      place(topic, listener, undefined)
      look()
    },
    unsubscribe (topic) {
      const node = topics.get(topic)?.node
      topics.delete(topic)
      adrift.delete(topic)
      if (node !== undefined) nodes.get(node)?.unsubscribe(topic)
    },
    close () {
      clearInterval(refreshing)
      cluster.off('refresh', placeAll)
      for (const node of nodes.values()) node.close()
    }
  }
}
