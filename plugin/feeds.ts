import { createFeed, type Feed } from './feed.js'
import type { Log } from './log.js'
import type { ReadQueue } from './read-queue.js'
import type { Subscriber } from './subscriber.js'

/** What the viewers of one kind of log read: where it is announced and how its envelopes become frames. */
export interface Source<Position> {
  /** The position before the first. */
  start: Position
  topic (key: string): string
  log (key: string): Log<Position>
  /** Tells the feed what has been announced on its topic. */
  hear (feed: Feed<Position>, envelope: string): void
}

export interface OpenFeed<Position> {
  feed: Feed<Position>
  log: Log<Position>
  /**
   * Resolves when the subscription is acknowledged: only then may a reader look at the log, or it could miss what is
   * published between the two. Resolves too when Redis does not answer; the feed then raises a doubt later.
   */
  ready: Promise<void>
}

/** The feeds that this process has viewers for. A topic is subscribed with its first viewer and dropped with its last. */
export interface Feeds<Position> {
  readonly size: number
  /** Each open feed's newest position. */
  known (): Map<string, Position>
  get (key: string): Feed<Position> | undefined
  open (key: string): OpenFeed<Position>
  /** To be called once a tail has left the feed. */
  release (key: string): void
}

/** How long a viewer waits for Redis before it reads the journal without it. */
const SUBSCRIBE_TIMEOUT_MS = 500

export function createFeeds<Position> (source: Source<Position>, subscriber: Subscriber, reads: ReadQueue): Feeds<Position> {
  const feeds = new Map<string, OpenFeed<Position>>()

  function create (key: string): OpenFeed<Position> {
    const log = source.log(key)
    const feed = createFeed(log, source.start, reads)
    const ready = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, subscriber.connected ? SUBSCRIBE_TIMEOUT_MS : 0)
      subscriber.subscribe(source.topic(key), {
        subscribed () {
          clearTimeout(timer)
          feed.doubt()
          resolve()
        },
        message (text) { source.hear(feed, text) }
      })
    })
    return { feed, log, ready }
  }

  return {
    get size () { return feeds.size },
    known: () => new Map([...feeds].map(([key, { feed }]) => [key, feed.newest])),
    get: (key) => feeds.get(key)?.feed,
    open (key) {
      const open = feeds.get(key) ?? create(key)
      feeds.set(key, open)
      return open
    },
    release (key) {
      if (feeds.get(key)?.feed.size !== 0) return
      feeds.delete(key)
      subscriber.unsubscribe(source.topic(key))
    }
  }
}
