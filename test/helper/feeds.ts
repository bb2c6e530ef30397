import type { FeedContext } from '../../plugin/read/feed.js'

/** For a feed whose announcements the test makes itself: the topic counts as subscribed as soon as anybody asks. */
export const alwaysReady: Pick<FeedContext<number>, 'subscriber' | 'topic'> = {
  subscriber: {
    healthy: true,
    connected: true,
    subscribe (_topic, listener) { listener.subscribed() },
    unsubscribe () {},
    close () {}
  },
  topic: (key) => key
}
