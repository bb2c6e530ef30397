import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import {
  ClosedError, DatabaseUnavailableError, FencedError, InvalidMessageIdError, InvalidOptionError, MessageExistsError,
  NotOwnerError, OutcomeUnknownError, StoppedError
} from '../errors.js'
import { endWith } from './finisher.js'
import type { Journal } from '../postgres/journal.js'
import type { OpenedMessage } from '../postgres/rows.js'
import { canonicalMessageId, newMessageId } from '../wire/names.js'
import { createMessage, refusedError, type MessageContext, type OwnedMessage } from './message.js'
import type { Message } from '../message-handle.js'
import type { JournalOptions } from '../options.js'
import { causeOf, isUnsure } from '../postgres/failures.js'
import { defaultPublicError } from '../public-error.js'
import type { Recorder } from '../write/recorder.js'
import { failed } from './terminal-events.js'
import { describeValue } from '../wire/text.js'
import { userIdText } from '../user-id.js'

/** What `openMessage` opens. */
export interface OpenMessageOptions {
  /**
   * Whose message it is. Without it the message is nobody's, and only an app with `identify: false` or an `authorize`
   * of its own lets anyone read it.
   */
  userId?: string | number | bigint | null
  /**
   * A UUID, perhaps chosen by the client. An existing message is continued after its last event, and its previous
   * writer fenced. Default: a new UUID.
   */
  messageId?: string
  /**
   * What to do if the message exists: continue it (the default), or reject with MessageExistsError. A request that
   * clients may repeat with an id of their own should refuse, so that no answer is produced twice.
   */
  ifExists?: 'continue' | 'refuse'
}

/** What a producer function does with its message; its return ends the message, its throw fails it. */
export type Produce = (message: Message) => unknown

/** The messages that this process is producing. */
export interface Producers {
  readonly size: number
  /**
   * Whether a lease could not be renewed: its row was locked, or the statement failed. It should be tried again soon.
   */
  readonly isBehind: boolean
  /**
   * Creates the message, or takes over an existing one. When it rejects, nothing has happened, except with
   * OutcomeUnknownError.
   * @throws InvalidOptionError, InvalidMessageIdError, InvalidUserIdError, NotOwnerError, MessageExistsError,
   * ClosedError, DatabaseUnavailableError with pg's error as its `cause`, or OutcomeUnknownError.
   */
  openMessage (options: OpenMessageOptions): Promise<Message>
  /** Registers a message that the journal has given to this process. */
  adopt (identity: { messageId: string, userId: string | null }, opened: OpenedMessage): OwnedMessage
  /**
   * Runs the producer, whether or not anybody reads. Resolves when its terminal event is settled. Never rejects. A
   * producer that is interrupted by a shutdown gets no terminal event, because another process may go on with the
   * message.
   */
  run (message: Message, produce: Produce): Promise<void>
  /** Called when the message was stopped under this epoch. Tells an older producer of this process. */
  stopped (messageId: string, epoch: number): void
  /** Called when somebody says that the message was stopped. Asks the journal, if its producer runs here. */
  check (messageId: string): void
  /** Renews the leases that are used, in one trip, and tells the producers that have lost theirs. Never rejects. */
  beat (): Promise<void>
  /** Ends the messages whose producers live and have recorded nothing for `producerSilenceMs`. Never rejects. */
  endSilent (): Promise<void>
  /** Aborts every message's signal. */
  close (): void
  /**
   * Hands the messages over. Each used lease runs out one `heartbeatMs` from now. Until then another process may go on
   * with the message; after that, it ends. Never rejects. Resolves with whether there were any messages.
   */
  release (): Promise<boolean>
}

/** What the producers need of their process. */
export interface ProducersContext extends Omit<MessageContext, 'onClosed' | 'journal' | 'recorder' | 'writeRetryMs'> {
  recorder: Recorder
  /** Called with each message that `openMessage` resolves with. */
  onOpened: (message: OwnedMessage) => void
}

const RETRY_MS = 250
const LAST_RETRY_MS = 5_000

/** Keeps the leases of this process's messages in `journal`. */
export function createProducers (journal: Journal, options: JournalOptions, context: ProducersContext): Producers {
  const { heartbeatMs, producerIdleMs, producerSilenceMs, writeRetryMs } = options
  const { finisher, log } = context
  const messages = new Map<string, OwnedMessage>()
  let checking = new Set<string>()
  let isBehind = false
  let closed = false

  /**
   * Opens the message. If the answer to COMMIT is lost, it tries again: the token tells whether the first try was
   * committed.
   */
  async function open (messageId: string, userId: string | null, mayContinue: boolean): Promise<OpenedMessage> {
    const token = randomUUID()
    const deadline = performance.now() + writeRetryMs
    let mayBeOpen = false
    for (;;) {
      try {
        const opened = await journal.openMessage(messageId, userId, mayContinue, token)
        if (opened !== null) return opened
        break
      } catch (cause) {
        mayBeOpen ||= isUnsure(cause)
        if (!mayBeOpen) throw new DatabaseUnavailableError({ cause: causeOf(cause) })
        if (performance.now() >= deadline || closed) {
          failIfOpened(messageId, token)
          throw new OutcomeUnknownError(messageId, { cause: causeOf(cause) })
        }
      }
      await delay(RETRY_MS)
    }
    const existing = mayContinue ? null : await asked(journal.findMessage(messageId))
    throw existing?.userId === userId ? new MessageExistsError(messageId) : new NotOwnerError(messageId)
  }

  /**
   * Fails the message if it was opened although the caller was told that the outcome is unknown. Otherwise readers
   * would wait for a producer that does not exist.
   */
  async function failIfOpened (messageId: string, token: string): Promise<void> {
    for (let retryMs = RETRY_MS; ; retryMs = Math.min(2 * retryMs, LAST_RETRY_MS)) {
      if (closed) return
      try {
        if (!await journal.wasOpened(messageId, token)) return
        const terminal = failed(defaultPublicError(), 'it was not known whether the message was opened')
        await finisher.finish(messageId, false, ({ openToken, status }) => {
          return openToken === token && status === 'streaming' ? endWith(terminal) : null
        })
        return
      } catch (error) {
        log.error('open', { messageId, err: error }, 'journal: it is not known yet whether a message was opened')
      }
      await delay(retryMs)
    }
  }

  function adopt (identity: { messageId: string, userId: string | null }, opened: OpenedMessage): OwnedMessage {
    const { messageId } = identity
    const message = createMessage(identity, opened, {
      ...context,
      journal,
      writeRetryMs,
      onClosed: () => { if (messages.get(messageId) === message) messages.delete(messageId) }
    })
    const other = messages.get(messageId)
    // The answers to two takeovers in one process may arrive in the other order
    if (other !== undefined && other.createdAt === message.createdAt && other.epoch > message.epoch) {
      message.lose(new FencedError(messageId))
      return message
    }
    other?.lose(new FencedError(messageId))
    messages.set(messageId, message)
    if (closed) message.abort(new ClosedError())
    return message
  }

  /** Renews the leases that are used, and asks about all of them. */
  async function heartbeat (
    wanted: readonly OwnedMessage[], others: readonly string[], agoMs: number, handOver: boolean
  ): Promise<void> {
    const leases = [...wanted, ...others.map((messageId) => ({ messageId, epoch: 0 }))]
    if (leases.length === 0) return
    const used = [...wanted.filter(({ isUsed }) => isUsed), ...others.map((messageId) => ({ messageId, epoch: 0 }))]
    try {
      const { lost, locked } = await journal.heartbeat(leases, used, agoMs, handOver)
      for (const message of wanted) {
        const refusal = lost.get(message.messageId)
        if (refusal !== undefined) message.lose(refusedError(refusal, message.messageId))
      }
      isBehind = locked.size > 0
    } catch (error) {
      isBehind = true
      log.error('heartbeat', { err: error }, 'journal: the producers\' leases could not be renewed')
    }
  }

  async function checkAll (): Promise<void> {
    const wanted = [...messages.values()].filter(({ messageId }) => checking.has(messageId))
    checking = new Set()
    await heartbeat(wanted, [], 0, false)
  }

  return {
    get size () { return messages.size },
    get isBehind () { return isBehind },
    async openMessage ({ userId = null, messageId: wanted, ifExists = 'continue' }) {
      if (closed) throw new ClosedError()
      if (ifExists !== 'continue' && ifExists !== 'refuse') {
        throw new InvalidOptionError(`"ifExists" must be "continue" or "refuse"; got ${describeValue(ifExists)}`)
      }
      const messageId = canonicalMessageId(wanted ?? newMessageId())
      if (messageId === null) throw new InvalidMessageIdError(describeValue(wanted))
      const identity = { messageId, userId: userIdText(userId) }
      const message = adopt(identity, await open(messageId, identity.userId, ifExists === 'continue'))
      context.onOpened(message)
      return message
    },
    adopt,
    async run (message, produce) {
      const owned = messages.get(message.messageId)
      owned?.use()
      try {
        await produce(message)
        if (!closed) await (owned === message ? owned.conclude() : message.end())
      } catch (error) {
        if (message.signal.aborted) return // it was told to stop, and its message is taken care of
        const { messageId, userId } = message
        log.error('producer', { messageId, userId, err: error }, 'journal: a producer failed')
        await (owned === message ? owned.conclude({ error }) : message.fail(error))
      }
    },
    stopped (messageId, epoch) {
      const message = messages.get(messageId)
      if (message !== undefined && message.epoch < epoch) message.lose(new StoppedError(messageId))
    },
    check (messageId) {
      if (messages.has(messageId) && checking.add(messageId).size === 1) setImmediate(checkAll)
    },
    async beat () {
      const others = context.recorder.recordedWithin(producerIdleMs).filter((messageId) => !messages.has(messageId))
      await heartbeat([...messages.values()], others, 0, false)
    },
    async endSilent () {
      if (producerSilenceMs === 0) return
      for (const message of messages.values()) {
        if (!message.isUsed) continue
        const { messageId } = message
        await message.endIfSilent(producerSilenceMs).catch((error: unknown) => {
          log.error('silent', { messageId, err: error }, 'journal: a silent producer could not be ended')
        })
      }
    },
    close () {
      closed = true
      for (const message of messages.values()) message.abort(new ClosedError())
    },
    async release () {
      const held = [...messages.values()]
      await heartbeat(held, [], producerIdleMs - heartbeatMs, true)
      return held.length > 0
    }
  }
}

async function asked<T> (answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (cause) {
    throw new DatabaseUnavailableError({ cause: causeOf(cause) })
  }
}
