import { setTimeout as delay } from 'node:timers/promises'
import type { Ending, Refusal } from '../postgres/appender.js'
import type { Message } from '../message-handle.js'
import { FencedError, StoppedError } from '../errors.js'
import { endAsItIs, endWith, type Finisher } from './finisher.js'
import type { Journal } from '../postgres/journal.js'
import type { OpenedMessage } from '../postgres/rows.js'
import type { Writer } from '../write/line.js'
import { isPlainObject } from '../wire/payload.js'
import { defaultPublicError, publicText, type PublicTextContext } from '../public-error.js'
import type { Reason, Recorder } from '../write/recorder.js'
import type { TerminalTypes } from '../wire/terminal-types.js'
import { completed, failed, inAscii, reasonOf, SILENT, type Terminal } from './terminal-events.js'
import type { EndStatus } from '../wire/status.js'
import { isEventType, toStorableText } from '../wire/text.js'

/** What a message needs of its process. */
export interface MessageContext extends PublicTextContext {
  journal: Pick<Journal, 'touch'>
  recorder: Pick<Recorder, 'record'>
  finisher: Finisher
  terminalTypes: TerminalTypes
  /** How long a status without an event is tried to be written, in ms. */
  writeRetryMs: number
  /** Called when the message has ended or is somebody else's; perhaps more than once. */
  onClosed: (message: Message) => void
}

/** A message with what only the library may do. */
export interface OwnedMessage extends Message {
  readonly epoch: number
  readonly createdAt: string
  /** Whether its lease is renewed: something was recorded, a producer runs, or it was touched. */
  readonly isUsed: boolean
  /** Marks it as used, because a producer runs. */
  use (): void
  /**
   * Ends it if neither this process nor the database has seen a sign of it for `silenceMs`. Rejects with pg's error.
   */
  endIfSilent (silenceMs: number): Promise<void>
  /**
   * Called when the producer has returned, or thrown `failure.error`. A terminal event that it recorded last ends the
   * message.
   */
  conclude (failure?: { error: unknown }): Promise<void>
  /** Tells the producer to stop. What it still records is recorded. */
  abort (reason: Error): void
  /**
   * Called when the message is not this producer's any more. Nothing is recorded from then on, and the signal aborts.
   */
  lose (reason: Error): void
}

const STATUS_RETRY_MS = 250
const LOST: ReadonlySet<Reason> = new Set<Refusal>(['missing', 'fenced', 'stopped', 'ended'])

/** Creates the handle of a message that this process has opened or taken over. */
export function createMessage (
  identity: { messageId: string, userId: string | null }, opened: OpenedMessage, context: MessageContext
): OwnedMessage {
  const { recorder, finisher, log } = context
  const { messageId } = identity
  const controller = new AbortController()
  const writer: Writer = { epoch: opened.epoch, next: opened.lastNo + 1 }
  let lastSequenceNo = opened.latest
  /** The newest event that this producer has recorded. */
  let last: { eventType: string, payload: unknown } | null = null
  let activeAt = performance.now()
  let isUsed = false
  let ended = false
  let underWay = 0
  let onSettled = (): void => {}

  function isMine ({ epoch, status }: { epoch: number, status: string }): boolean {
    return epoch === opened.epoch && status === 'streaming'
  }

  function write (
    eventType: string, payload: unknown, ending: Ending | null, onWritten: (reason: Reason | null) => void
  ): void {
    isUsed = true
    activeAt = performance.now()
    underWay++
    recorder.record({
      messageId,
      writer,
      sequenceNo: writer.next,
      eventType: toStorableText(eventType),
      payload,
      ending
    }, (sequenceNo, reason) => {
      underWay--
      if (sequenceNo !== null) {
        lastSequenceNo = sequenceNo
        last = { eventType, payload }
      }
      if (isLost(reason)) lose(refusedError(reason, messageId))
      onWritten(reason)
      if (underWay === 0) onSettled()
    })
  }

  /** The status that an event's types stand for. Reading the payload again may throw. */
  function statusOf (eventType: string, payload: unknown): EndStatus | null {
    try {
      const { type } = Object(isPlainObject(payload) ? payload : {}) as { type?: unknown }
      return context.terminalTypes({ eventType, payload: '', payloadType: typeof type === 'string' ? type : undefined })
    } catch {
      return null
    }
  }

  async function writeTerminal ({ eventType, payload, status, error }: Terminal): Promise<Reason | null> {
    const ending = { status, error: error === null ? null : toStorableText(error) }
    return await new Promise((resolve) => { write(eventType, payload, ending, resolve) })
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

  /**
   * Writes the terminal event, or `plain` in its place if the database cannot hold it. Otherwise readers would wait for
   * ever.
   */
  async function finish (terminal: Terminal, plain: Terminal): Promise<boolean> {
    if (ended) return false
    ended = true
    let reason = await writeTerminal(terminal)
    if (reason === 'invalid') reason = await writeTerminal(inAscii(plain))
    context.onClosed(message)
    return reason === null
  }

  /** Resolves when nothing that was recorded is under way. */
  async function settled (): Promise<void> {
    if (underWay > 0) await new Promise<void>((resolve) => { onSettled = resolve })
  }

  /**
   * Writes the status alone, because the last event is a terminal one. `false`: another event follows it, or the
   * database is away.
   */
  async function finishAsItIs (status: EndStatus, error: string | null): Promise<boolean> {
    const deadline = performance.now() + context.writeRetryMs
    for (;;) {
      try {
        const decided = await finisher.finish(messageId, false, (row) => {
          return isMine(row) && row.newest?.sequenceNo === lastSequenceNo ? endAsItIs(row.newest, status, error) : null
        })
        return decided.kind === 'ended'
      } catch (cause) {
        if (performance.now() >= deadline) {
          log.error('status', { ...identity, err: cause }, 'journal: a message\'s status could not be written')
          return false
        }
      }
      await delay(STATUS_RETRY_MS)
    }
  }

  function lose (reason: Error): void {
    ended = true
    controller.abort(reason)
    context.onClosed(message)
  }

  const message: OwnedMessage = {
    ...identity,
    get lastSequenceNo () { return lastSequenceNo },
    get isUsed () { return isUsed },
    epoch: opened.epoch,
    createdAt: opened.createdAt,
    signal: controller.signal,
    record: (eventType, payload) => new Promise((resolve) => {
      if (!ended && isEventType(eventType)) {
        return write(eventType, payload, null, (reason) => { resolve(reason === null) })
      }
      const reason = controller.signal.aborted
        ? String(controller.signal.reason.message)
        : ended ? 'the message has ended' : 'eventType is empty'
      log.warn('arguments', { ...identity, eventType, reason }, 'journal: an event was not recorded')
      resolve(false)
    }),
    async touch () {
      if (ended) return false
      isUsed = true
      activeAt = performance.now()
      try {
        return await context.journal.touch({ messageId, epoch: opened.epoch })
      } catch (error) {
        log.error('touch', { ...identity, err: error }, 'journal: a sign of life could not be written')
        return false
      }
    },
    end: async (payload) => await finish(completedWith(payload), completed()),
    async fail (error) {
      const terminal = failed(publicText(context, error, identity), error)
      return await finish(terminal, failed(defaultPublicError(), error))
    },
    use () { isUsed = true },
    async endIfSilent (silenceMs) {
      if (ended || performance.now() - activeAt < silenceMs) return
      const decided = await finisher.finish(messageId, true, (row) => {
        const silentMs = Math.min(row.touchedAgeMs, row.newest?.ageMs ?? Infinity)
        if (silentMs >= silenceMs) return isMine(row) ? endWith(SILENT) : null
        activeAt = performance.now() - Math.max(0, silentMs)
        return null
      })
      if (decided.kind !== 'ended') return
      log.warn('silent', { messageId },
        'journal: a message was ended: its producer recorded nothing for producerSilenceMs')
      lose(new FencedError(messageId))
    },
    async conclude (failure) {
      if (ended) return
      await settled()
      if (ended) return
      const lastStatus = last === null ? null : statusOf(last.eventType, last.payload)
      if (lastStatus !== null) {
        ended = true
        const status = failure === undefined ? lastStatus : 'failed'
        const error = failure === undefined ? null : toStorableText(reasonOf(failure.error))
        const isWritten = await finishAsItIs(status, error)
        if (isWritten) return context.onClosed(message)
        ended = false
      }
      await (failure === undefined ? message.end() : message.fail(failure.error))
    },
    abort (reason) { controller.abort(reason) },
    // If its producer has ended it, the answer to that end tells whether it was lost before
    lose (reason) { if (!ended) lose(reason) }
  }
  return message
}

function isLost (reason: Reason | null): reason is Refusal {
  return reason !== null && LOST.has(reason)
}

/** Why a message is not its producer's any more. */
export function refusedError (refusal: Refusal, messageId: string): Error {
  return refusal === 'stopped' ? new StoppedError(messageId) : new FencedError(messageId)
}
