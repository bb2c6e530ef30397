import { Feed, type FeedContext } from './feed.js'

/** The feeds that this process has viewers for. A topic is dropped with its last viewer. */
export interface Feeds<Position> {
  readonly size: number
  /** Each open feed's newest position. */
  known (): Map<string, Position>
  get (key: string): Feed<Position> | undefined
  open (key: string): Feed<Position>
  /** To be called after a tail has left the feed. */
  release (feed: Feed<Position>): void
}

/** Makes a feed with the first viewer of a key, and drops it with the last. */
export function createFeeds<Position> (context: FeedContext<Position>): Feeds<Position> {
  const feeds = new Map<string, Feed<Position>>()
  return {
    get size () { return feeds.size },
    known: () => new Map([...feeds].map(([key, { newest }]) => [key, newest])),
    get: (key) => feeds.get(key),
    open (key) {
      const open = feeds.get(key)
      if (open !== undefined) return open
      const feed = new Feed(context, key)
      feeds.set(key, feed)
      return feed
    },
    release (feed) {
      if (feed.size > 0 || feeds.get(feed.key) !== feed) return
      feeds.delete(feed.key)
      feed.unsubscribe()
    }
  }
}
