import type { OpenedMessage, MessageStatus } from './journal.js'
import type { LimitedLog } from './limited-log.js'
import { isEventType, withoutNul, type Recorder } from './recorder.js'

/** A message that this process is producing. Its numbers are kept here; nothing of it throws or rejects. */
export interface Message {
  readonly messageId: string
  readonly userId: string | null
  /** Aborts when the producer should stop: the message was taken over by another writer, or the server shuts down. */
  readonly signal: AbortSignal
  /**
   * Journals and publishes the next event. Numbers are allotted in the order of the calls, of which many may be in
   * flight, and the events are committed in that order.
   * @returns `true` exactly when the event is committed; `false` after `end` or `fail`, and as `recordEvent` has it.
   */
  record (eventType: string, payload?: object): Promise<boolean>
  /**
   * The durable terminal event `{"type":"end", …payload}` and the status `complete`, in one transaction.
   * @returns whether it is committed; `false` when the message has ended already.
   */
  end (payload?: object): Promise<boolean>
  /**
   * The durable terminal event `{"type":"error","error":…,"code":"producer_failed"}` and the status `failed`, in one
   * transaction. Readers see the text that the option `publicError` makes of `error`.
   */
  fail (error: unknown): Promise<boolean>
}

export interface MessageContext {
  recorder: Recorder
  log: LimitedLog
  publicError: (error: unknown, message: { messageId: string, userId: string | null }) => string
  /** Called once: the message has ended, or is somebody else's. */
  onClosed: (message: Message) => void
}

/** A message and what the server alone may do with it. */
export interface OwnedMessage extends Message {
  /** Tells the producer to stop. What it still records is recorded. */
  abort (reason: Error): void
}

export function createMessage (identity: { messageId: string, userId: string | null }, opened: OpenedMessage, context: MessageContext): OwnedMessage {
  const { recorder, log } = context
  const controller = new AbortController()
  let next = opened.latest + 1
  let ended = false

  async function write (eventType: string, payload: unknown, finish: { status: MessageStatus, error: string | null } | null): Promise<boolean> {
    const { sequenceNo, reason } = await recorder.record({
      messageId: identity.messageId, sequenceNo: next++, eventType: withoutNul(eventType), payload, epoch: opened.epoch, finish
    })
    if (reason === 'fenced' || reason === 'missing') close(new Error(`message ${identity.messageId} ${reason === 'fenced' ? 'was taken over by another writer' : 'was deleted'}`))
    if (sequenceNo !== null) next = Math.max(next, sequenceNo + 1)
    return sequenceNo !== null
  }

  async function finish (eventType: string, payload: object, status: MessageStatus, error: string | null): Promise<boolean> {
    if (ended) return false
    ended = true
    const committed = await write(eventType, payload, { status, error })
    context.onClosed(message)
    return committed
  }

  function close (reason: Error): void {
    ended = true
    controller.abort(reason)
    context.onClosed(message)
  }

  const message: OwnedMessage = {
    ...identity,
    signal: controller.signal,
    async record (eventType, payload) {
      if (!ended && isEventType(eventType)) return await write(eventType, payload, null)
      const reason = ended ? 'the message has ended' : 'eventType is empty'
      log.warn('arguments', { ...identity, eventType, reason }, 'journal: an event was not recorded')
      return false
    },
    end: async (payload) => await finish('end', { type: 'end', ...payload }, 'complete', null),
    fail: async (error) => await finish('error', {
      type: 'error', error: publicText(error), code: 'producer_failed'
    }, 'failed', error instanceof Error ? error.message : String(error)),
    abort (reason) { controller.abort(reason) }
  }

  /** An app's function that throws must not cost the reader the terminal event. */
  function publicText (error: unknown): string {
    try {
      return context.publicError(error, identity)
    } catch (failure) {
      log.error('publicError', { ...identity, err: failure }, 'journal: the option publicError threw')
      return defaultPublicError()
    }
  }
  return message
}

export function defaultPublicError (): string {
  return 'The answer could not be completed.'
}
