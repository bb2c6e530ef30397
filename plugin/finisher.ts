import type { Finish, Journal } from './journal.js'
import { encodeEnvelope } from './envelope.js'
import { messageTopic } from './keys.js'
import type { Publisher } from './publisher.js'
import type { Terminal } from './terminals.js'

/** Under what conditions a message is ended over its producer's head; see `Finish`. */
export type FinishConditions = Pick<Finish, 'from' | 'idleMs' | 'latest'>

/**
 * Ends messages for producers that cannot, or should not, do it themselves. The conditions are checked in the
 * transaction that writes, so however many processes try, one terminal event is written.
 */
export interface Finisher {
  /**
   * Journals the terminal event under a new epoch, which fences the producer, then publishes it.
   * @returns the new epoch, or `null` when a condition did not hold. Rejects with pg's error.
   */
  finish (messageId: string, terminal: Terminal, conditions: FinishConditions): Promise<number | null>
}

export function createFinisher (journal: Journal, publisher: Publisher): Finisher {
  return {
    async finish (messageId, terminal, conditions) {
      const { status, error, eventType } = terminal
      const payload = JSON.stringify(terminal.payload)
      const written = await journal.finish({ messageId, status, error, eventType, payload, ...conditions })
      if (written === null) return null
      const { sequenceNo, epoch } = written
      const envelope = encodeEnvelope({ messageId, sequenceNo, eventType, payload, committed: true })
      publisher.publish([{ topic: messageTopic(messageId), envelope }])
      return epoch
    }
  }
}
