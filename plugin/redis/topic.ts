/** The owner of a topic's subscription. Its methods must not throw. */
export interface TopicListener {
  /**
   * Called when Redis has acknowledged the subscription: every publish from then on arrives. Called again after each
   * reconnect, because what was published meanwhile is lost.
   */
  subscribed (): void
  message (text: string): void
}

/**
 * One Redis connection for all topics of this process; with a Cluster, one to each node that has topics. A topic is
 * subscribed once, whatever the number of viewers.
 */
export interface Subscriber {
  /**
   * Whether hints can be relied on: the last PING was answered in time, every subscription is acknowledged, and after a
   * reconnect the publishers have had time to reconnect, too.
   */
  readonly healthy: boolean
  /** Whether there is a connection. Redis may be frozen all the same. */
  readonly connected: boolean
  subscribe (topic: string, listener: TopicListener): void
  unsubscribe (topic: string): void
  close (): void
}
