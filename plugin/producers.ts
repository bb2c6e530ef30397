import { ClosedError, DatabaseUnavailableError, FencedError, InvalidMessageIdError, MessageExistsError, NotOwnerError, StoppedError, refusedError } from './errors.js'
import type { Journal } from './journal.js'
import { canonicalMessageId, newMessageId } from './keys.js'
import { createMessage, type Message, type MessageContext, type OwnedMessage } from './message.js'
import type { JournalOptions } from './options.js'
import { shown } from './text.js'
import { userIdText } from './user-id.js'

export interface OpenMessageOptions {
  /** Whose message it is; `null` or left out: nobody's, which only an app with `identify: false` lets anyone read. */
  userId?: string | number | bigint | null
  /** A UUID, the client's own perhaps; one that exists is continued after its last event, and its older writer fenced. Left out: a new one. */
  messageId?: string
  /**
   * What to do with a message that exists: continue it (the default), or refuse with MessageExistsError. A request that a
   * client sends again with the id it chose should refuse, so that no answer is produced twice.
   */
  ifExists?: 'continue' | 'refuse'
}

/** What a producer function does with its message; its return ends the message, its throw fails it. */
export type Produce = (message: Message) => unknown

/** The messages that this process is producing. */
export interface Producers {
  readonly size: number
  /**
   * Makes the message's row, or takes the message over.
   * @throws InvalidMessageIdError, InvalidUserIdError, NotOwnerError, MessageExistsError, ClosedError, or DatabaseUnavailableError with pg's error as its `cause`.
   */
  openMessage (options: OpenMessageOptions): Promise<Message>
  /**
   * Runs the producer, whoever reads; resolves when its terminal event is settled. Never rejects. A producer that
   * shutdown interrupts gets no terminal event: its message is not finished, and another process may go on with it.
   */
  run (message: Message, produce: Produce): Promise<void>
  /** The message was stopped under this epoch; its producer, if it runs here and is older, is told. */
  stopped (messageId: string, epoch: number): void
  /** Renews all leases in one statement; those that are lost are told. Never rejects. */
  beat (): Promise<void>
  /** Aborts every message's signal. */
  close (): void
  /**
   * Gives the leases up: each runs out one `heartbeatMs` from now. Until then another process may go on with the message;
   * after that, its readers need not wait for longer. Never rejects.
   */
  release (): Promise<void>
}

export function createProducers (journal: Journal, { heartbeatMs, producerIdleMs }: JournalOptions, context: Omit<MessageContext, 'onClosed'>): Producers {
  const messages = new Map<string, OwnedMessage>()
  let closed = false

  async function open (messageId: string, userId: string | null, mayContinue: boolean) {
    const opened = await asked(journal.openMessage(messageId, userId, mayContinue))
    if (opened !== null) return opened
    const existing = mayContinue ? null : await asked(journal.findMessage(messageId))
    throw existing?.userId === userId ? new MessageExistsError(messageId) : new NotOwnerError(messageId)
  }

  async function heartbeat (agoMs: number): Promise<void> {
    const leases = [...messages.values()]
    if (leases.length === 0) return
    try {
      const lost = await journal.heartbeat(leases, agoMs)
      for (const lease of leases) {
        const refusal = lost.get(lease.messageId)
        if (refusal !== undefined) lease.lose(refusedError(refusal, lease.messageId))
      }
    } catch (error) {
      context.log.error('heartbeat', { err: error }, 'journal: the producers\' leases could not be renewed')
    }
  }

  return {
    get size () { return messages.size },
    async openMessage ({ userId = null, messageId: wanted, ifExists = 'continue' }) {
      if (closed) throw new ClosedError()
      const messageId = canonicalMessageId(wanted ?? newMessageId())
      if (messageId === null) throw new InvalidMessageIdError(shown(wanted))
      const identity = { messageId, userId: userIdText(userId) }
      const opened = await open(messageId, identity.userId, ifExists === 'continue')
      const message = createMessage(identity, opened, {
        ...context,
        onClosed: () => { if (messages.get(messageId) === message) messages.delete(messageId) }
      })
      const other = messages.get(messageId)
      // Of two takeovers in one process, the answers may come in the other order
      if (other !== undefined && other.epoch > message.epoch) {
        message.lose(new FencedError(messageId))
        return message
      }
      other?.lose(new FencedError(messageId))
      messages.set(messageId, message)
      if (closed) message.abort(new ClosedError())
      return message
    },
    async run (message, produce) {
      try {
        await produce(message)
        if (!closed) await message.end()
      } catch (error) {
        if (message.signal.aborted) return // it was told to stop, and its message is taken care of
        const { messageId, userId } = message
        context.log.error('producer', { messageId, userId, err: error }, 'journal: a producer failed')
        await message.fail(error)
      }
    },
    stopped (messageId, epoch) {
      const message = messages.get(messageId)
      if (message !== undefined && message.epoch < epoch) message.lose(new StoppedError(messageId))
    },
    beat: async () => { await heartbeat(0) },
    close () {
      closed = true
      for (const message of messages.values()) message.abort(new ClosedError())
    },
    release: async () => { await heartbeat(producerIdleMs - heartbeatMs) }
  }
}

async function asked<T> (answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (cause) {
    throw new DatabaseUnavailableError({ cause })
  }
}
