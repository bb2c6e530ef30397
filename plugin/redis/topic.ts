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
 * One Redis connection for all topics of this process; with a Cluster, one to each node that has topics. A topic is
 * subscribed once, whatever the number of viewers.
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
