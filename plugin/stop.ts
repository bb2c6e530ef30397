import type { Finisher } from './finisher.js'
import type { Producers } from './producers.js'
import type { Publisher } from './publisher.js'
import type { TopicListener } from './subscriber.js'
import { STOPPED } from './terminals.js'

/** Where processes tell each other that a message was stopped. A hint like any other: a lost one is found with the next heartbeat. */
export const STOP_TOPIC = 'journal:stop'

/** Stops messages on whatever node their producers run. */
export interface Stopper extends TopicListener {
  /** A message that is not streaming any more is left as it is. Rejects with pg's error. */
  stop (messageId: string): Promise<void>
}

export function createStopper (finisher: Finisher, producers: Producers, publisher: Publisher): Stopper {
  return {
    async stop (messageId) {
      const epoch = await finisher.finish(messageId, STOPPED, { from: 'streaming', idleMs: null, latest: null })
      if (epoch === null) return
      producers.stopped(messageId, epoch)
      publisher.publish([{ topic: STOP_TOPIC, envelope: JSON.stringify({ message_id: messageId, epoch }) }])
    },
    subscribed () {},
    message (text) {
      const [, messageId, epoch] = /^\{"message_id":"([0-9a-f-]{36})","epoch":(\d+)\}$/.exec(text) ?? []
      if (messageId !== undefined) producers.stopped(messageId, Number(epoch))
    }
  }
}
