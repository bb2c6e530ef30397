import { encodeEnvelope } from '../wire/envelope.js'
import type { Journal } from '../postgres/journal.js'
import type { Decided, Decision, JournalRow, LockedMessage } from '../postgres/rows.js'
import { messageTopic } from '../wire/names.js'
import type { Publisher } from '../redis/publisher.js'
import type { Terminal } from './terminal-events.js'
import type { EndStatus } from '../wire/status.js'

/**
 * Decides what becomes of a message: under its row lock, in the transaction that writes. So one terminal event is
 * written, however many processes try to end it.
 */
export interface Finisher {
  /**
   * Carries out what `decide` returns, and publishes an end. `skipLocked`: does not wait for somebody else's lock on
   * the row. Rejects with pg's error.
   */
  finish (messageId: string, skipLocked: boolean, decide: (message: LockedMessage) => Decision): Promise<Decided>
}

/** Decides under a row lock of `journal`, and publishes what was decided. */
export function createFinisher (journal: Journal, publisher: Publisher): Finisher {
  return {
    async finish (messageId, skipLocked, decide) {
      let decision: Decision = null
      const decided = await journal.decide(messageId, skipLocked, (message) => (decision = decide(message)))
      const ending = decision as Decision // assigned by the callback
      if (decided.kind !== 'ended' || ending?.kind !== 'end') return decided
      const { eventType, payload } = ending.event
      const envelope = encodeEnvelope(
        { messageId, sequenceNo: decided.lastNo, eventType, payload, committed: true, ends: ending.status })
      publisher.publish([{ topic: messageTopic(messageId), envelope }])
      return decided
    }
  }
}

/** Ends the message with this event, and fences its producer. */
export function endWith ({ status, error, eventType, payload }: Terminal): Decision {
  const event = { sequenceNo: null, eventType, payload: JSON.stringify(payload) }
  return { kind: 'end', status, error, event, fence: true }
}

/** Gives the message its status and no event, because the newest event has ended it. */
export function endAsItIs (newest: JournalRow, status: EndStatus, error: string | null): Decision {
  return { kind: 'end', status, error, event: newest, fence: false }
}
