import type { FastifyBaseLogger } from 'fastify'
import { ClosedError, DatabaseUnavailableError, InvalidMessageIdError, NotOwnerError } from './errors.js'
import type { Journal } from './journal.js'
import { canonicalMessageId, newMessageId } from './keys.js'
import { createMessage, type Message, type MessageContext, type OwnedMessage } from './message.js'

export interface OpenMessageOptions {
  /** Whose message it is; `null` or left out: nobody's, which only an app with `identify: false` lets anyone read. */
  userId?: string | number | bigint | null
  /** A UUID, the client's own perhaps; one that exists is continued after its last event, and its older writer fenced. Left out: a new one. */
  messageId?: string
}

/** What a producer function does with its message; its return ends the message, its throw fails it. */
export type Produce = (message: Message) => unknown

/** The messages that this process is producing. */
export interface Producers {
  readonly size: number
  /**
   * Makes the message's row, or takes the message over.
   * @throws InvalidMessageIdError, NotOwnerError, ClosedError, or DatabaseUnavailableError with pg's error as its `cause`.
   */
  openMessage (options: OpenMessageOptions): Promise<Message>
  /**
   * Runs the producer, whoever reads; resolves when its terminal event is settled. Never rejects. A producer that
   * shutdown interrupts gets no terminal event: its message is not finished, and another process may go on with it.
   */
  run (message: Message, produce: Produce): Promise<void>
  /** Aborts every message's signal. */
  close (): void
}

export function createProducers (journal: Journal, context: Omit<MessageContext, 'onClosed'>, logger: FastifyBaseLogger): Producers {
  const messages = new Set<OwnedMessage>()
  let closed = false

  async function open (messageId: string, userId: string | null) {
    try {
      return await journal.openMessage(messageId, userId)
    } catch (cause) {
      throw new DatabaseUnavailableError({ cause })
    }
  }

  return {
    get size () { return messages.size },
    async openMessage ({ userId = null, messageId: wanted }) {
      if (closed) throw new ClosedError()
      const messageId = canonicalMessageId(wanted ?? newMessageId())
      if (messageId === null) throw new InvalidMessageIdError(JSON.stringify(wanted))
      const identity = { messageId, userId: userId === null ? null : String(userId) }
      const opened = await open(messageId, identity.userId)
      if (opened === null) throw new NotOwnerError(messageId)
      const message = createMessage(identity, opened, { ...context, onClosed: () => { messages.delete(message) } })
      messages.add(message)
      if (closed) message.abort(new ClosedError())
      return message
    },
    async run (message, produce) {
      try {
        await produce(message)
        if (!closed) await message.end()
      } catch (error) {
        if (closed) return
        const { messageId, userId } = message
        logger.error({ messageId, userId, err: error }, 'journal: a producer failed')
        await message.fail(error)
      }
    },
    close () {
      closed = true
      for (const message of messages) message.abort(new ClosedError())
    }
  }
}
