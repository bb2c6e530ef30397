import { endWith, type Finisher } from './finisher.js'
import { canonicalMessageId } from '../wire/names.js'
import type { Producers } from './producers.js'
import type { Publisher } from '../redis/publisher.js'
import type { TopicListener } from '../redis/topic.js'
import { STOPPED } from './terminal-events.js'

/**
 * The topic on which processes tell each other that a message was stopped. If a hint is lost, the next heartbeat finds
 * the stop.
 */
export const STOP_TOPIC = 'journal:stop'

/** Stops messages on whatever node their producers run. */
export interface Stopper extends TopicListener {
  /** Stops the message, unless it has ended. Rejects with pg's error. */
  stop (messageId: string): Promise<void>
}

/** Stops messages through `finisher`. Tells the producers of this process, and the other processes. */
export function createStopper (finisher: Finisher, producers: Producers, publisher: Publisher): Stopper {
  return {
    async stop (messageId) {
      const stopped = await finisher.finish(messageId, false, ({ status }) => {
        return status === 'streaming' ? endWith(STOPPED) : null
      })
      if (stopped.kind !== 'ended') return
      producers.stopped(messageId, stopped.epoch)
      const envelope = JSON.stringify({ message_id: messageId, epoch: stopped.epoch })
      publisher.publish([{ topic: STOP_TOPIC, envelope }])
    },
    subscribed () {},
    message (text) {
      const messageId = canonicalMessageId(/^\{"message_id":"([^"]*)"/.exec(text)?.[1])
      if (messageId !== null) producers.check(messageId)
    }
  }
}
