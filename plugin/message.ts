import { refusedError } from './errors.js'
import type { NewEvent } from './appender.js'
import type { OpenedMessage } from './journal.js'
import { isPlainObject } from './payload.js'
import { defaultPublicError, publicText, type PublicTextContext } from './public-text.js'
import type { Reason, Recorder } from './recorder.js'
import { completed, failed, type Terminal } from './terminals.js'
import { isEventType, storable } from './text.js'

/** A message that this process is producing. Its numbers are kept here; nothing of it throws or rejects. */
export interface Message {
  readonly messageId: string
  readonly userId: string | null
  /** The number of the message's newest event when it was opened; -1 when it had none. */
  readonly openedAt: number
  /**
   * Aborts when the producer should stop. Its reason is a StoppedError, a FencedError (another writer has taken the
   * message over, or it was ended because this process gave no sign of life) or a ClosedError (the server shuts down).
   */
  readonly signal: AbortSignal
  /**
   * Journals and publishes the next event. Numbers are allotted in the order of the calls, of which many may be in
   * flight, and the events are committed in that order.
   * @returns `true` exactly when the event is committed; `false` after `end` or `fail`, and as `recordEvent` has it.
   */
  record (eventType: string, payload?: object): Promise<boolean>
  /**
   * The durable terminal event `{"type":"end", …payload}` and the status `complete`, in one transaction. A `type` in the
   * payload is left out, and so is, with a line in the log, a payload that is no plain object or cannot be stored.
   * @returns whether it is committed; `false` when the message has ended already.
   */
  end (payload?: object): Promise<boolean>
  /**
   * The durable terminal event `{"type":"error","error":…,"code":"producer_failed"}` and the status `failed`, in one
   * transaction. Readers see the text that the option `publicError` makes of `error`.
   */
  fail (error: unknown): Promise<boolean>
}

export interface MessageContext extends PublicTextContext {
  recorder: Recorder
  /** Called once: the message has ended, or is somebody else's. */
  onClosed: (message: Message) => void
}

/** A message and what the server alone may do with it. */
export interface OwnedMessage extends Message {
  readonly epoch: number
  /** Tells the producer to stop. What it still records is recorded. */
  abort (reason: Error): void
  /** The message is not this producer's any more: nothing is recorded from now on, and the signal aborts. */
  lose (reason: Error): void
}

export function createMessage (identity: { messageId: string, userId: string | null }, opened: OpenedMessage, context: MessageContext): OwnedMessage {
  const { recorder, log } = context
  const controller = new AbortController()
  let next = opened.latest + 1
  let ended = false

  function write (eventType: string, payload: unknown, finish: NewEvent['finish'], onWritten: (reason: Reason | null) => void): void {
    const event = { messageId: identity.messageId, sequenceNo: next++, eventType: storable(eventType), payload, epoch: opened.epoch, finish }
    recorder.record(event, (sequenceNo, reason) => {
      if (reason === 'refused' && next === event.sequenceNo + 1) next = event.sequenceNo // at once: it leaves no hole
      if (reason === 'stopped' || reason === 'fenced' || reason === 'missing') lose(refusedError(reason, identity.messageId))
      if (sequenceNo !== null && sequenceNo >= next) next = sequenceNo + 1
      onWritten(reason)
    })
  }

  async function writeTerminal ({ eventType, payload, status, error }: Terminal): Promise<Reason | null> {
    const finish = { status, error: error === null ? null : storable(error) }
    return await new Promise((resolve) => { write(eventType, payload, finish, resolve) })
  }

  function completedWith (payload: unknown): Terminal {
    const fields = { ...identity, eventType: 'end' }
    try {
      if (payload === undefined || isPlainObject(payload)) return completed(payload)
      log.warn('replaced', fields, 'journal: a payload is not a plain object; {} was recorded in its place')
    } catch (error) {
      log.error('payload', { ...fields, err: error }, 'journal: a payload cannot be read; {} was recorded in its place')
    }
    return completed()
  }

  /** `plain` is what is written when the payload cannot be: readers must not wait for an end that cannot come. */
  async function finish (terminal: Terminal, plain: Terminal): Promise<boolean> {
    if (ended) return false
    ended = true
    let reason = await writeTerminal(terminal)
    if (reason === 'refused') reason = await writeTerminal(plain)
    context.onClosed(message)
    return reason === null
  }

  function lose (reason: Error): void {
    ended = true
    controller.abort(reason)
    context.onClosed(message)
  }

  const message: OwnedMessage = {
    ...identity,
    openedAt: opened.latest,
    epoch: opened.epoch,
    signal: controller.signal,
    record: (eventType, payload) => new Promise((resolve) => {
      if (!ended && isEventType(eventType)) return write(eventType, payload, null, (reason) => { resolve(reason === null) })
      const reason = ended ? 'the message has ended' : 'eventType is empty'
      log.warn('arguments', { ...identity, eventType, reason }, 'journal: an event was not recorded')
      resolve(false)
    }),
    end: async (payload) => await finish(completedWith(payload), completed()),
    fail: async (error) => await finish(failed(publicText(context, error, identity), error), failed(defaultPublicError(), error)),
    abort (reason) { controller.abort(reason) },
    lose
  }
  return message
}
