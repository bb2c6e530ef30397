import type { FastifyBaseLogger } from 'fastify'
import type { Ending } from '../postgres/appender.js'
import type { Committer } from './committer.js'
import { encodeEnvelope, isSequenceNo } from '../wire/envelope.js'
import { canonicalMessageId, messageTopic } from '../wire/names.js'
import type { RateLimitedLogger } from '../util/rate-limited-logger.js'
import type { Outcome, Writer } from './line.js'
import { serializePayload } from '../wire/payload.js'
import type { Publication, Publisher } from '../redis/publisher.js'
import type { TerminalTypes } from '../wire/terminal-types.js'
import { isEventType, toStorableText } from '../wire/text.js'

/**
 * Journals one event and publishes it.
 *
 * Never throws and never rejects. `true` exactly when the event's row is committed: under `sequenceNo` or, when that
 * number is taken by a different event or is not above the newest one, under the message's next free number. `false`,
 * with a line in the log, when it is not committed:
 * - an empty or malformed id, number or type, a payload that cannot be serialised or is larger than `maxPayloadBytes`;
 * - a message that does not exist, or has ended;
 * - a database that stays away, or a message that stays locked, for longer than `writeRetryMs`.
 *
 * An event that was sent and got no answer is sent again for `writeRetryMs`, and then looked for until Postgres tells,
 * for at most `maxDoubtMs`. Only when that time is over, or the server shuts down, may a `false` be wrong; the log says
 * `outcome unknown` then.
 */
export type RecordEvent = (
  messageId: string, sequenceNo: number, eventType: string, payload?: unknown
) => Promise<boolean>

/** An event as a writer has it. */
export interface WrittenEvent {
  messageId: string
  /** `null`: a writer without a lease. */
  writer: Writer | null
  /** The number that a writer without a lease asks for. */
  sequenceNo: number
  eventType: string
  payload: unknown
  ending: Ending | null
}

/** Why there is no row. */
export type Reason = Exclude<Outcome['kind'], 'committed'>

/** Called with the row's number, or with `null` and the reason why there is no row. */
export type OnRecorded = (sequenceNo: number | null, reason: Reason | null) => void

/** Turns calls into events with text, and outcomes into log lines and hints. */
export interface Recorder {
  recordEvent: RecordEvent
  /** Calls back exactly once; never throws. */
  record (event: WrittenEvent, onRecorded: OnRecorded): void
  /** The messages without a lease that this process has recorded to within the last `ms`. Forgets all others. */
  recordedWithin (ms: number): string[]
}

/**
 * Outcomes whose event is still shown to readers, without an id: it is not in the journal, and nobody else has ended
 * the message.
 */
const SHOWN_WITHOUT_ROW: ReadonlySet<Reason> = new Set<Reason>(['missing', 'failed', 'invalid'])
/** The largest number that an app may choose. Later events, such as the message's end, need numbers, too. */
const MAX_OWN_NO = 2_000_000_000
/** How many missing messages are remembered, so that each is logged once. */
const MAX_KNOWN_MISSING = 1_000

/** What a recorder writes to. */
export interface RecorderParts {
  committer: Committer
  publisher: Publisher
  terminalTypes: TerminalTypes
  logger: FastifyBaseLogger
  log: RateLimitedLogger
}

/** Records through `committer`, and publishes through `publisher`. */
export function createRecorder (
  { committer, publisher, terminalTypes, logger, log }: RecorderParts, { maxPayloadBytes }: { maxPayloadBytes: number }
): Recorder {
  const knownMissing = new Set<string>()
  /** When this process last recorded to a message without a lease. */
  const recordedAt = new Map<string, number>()
  let publications: Publication[] = []

  /**
   * Publishes all events that are settled in one turn of the event loop in one write. Publishing comes after what
   * writers send to Postgres in that turn, because nobody awaits a hint.
   */
  function publish (
    { messageId, eventType, ending }: WrittenEvent, payload: string, sequenceNo: number, committed: boolean
  ): void {
    const envelope = encodeEnvelope({
      messageId,
      sequenceNo,
      eventType,
      payload,
      committed,
      ends: committed ? ending?.status : undefined
    })
    if (publications.push({ topic: messageTopic(messageId), envelope }) > 1) return
    setImmediate(() => {
      const batch = publications
      publications = []
      publisher.publish(batch)
    })
  }

  /** After an event that ends the message, the process gives no more signs of life for it. */
  function noteLife (messageId: string, goesOn: boolean): void {
    if (goesOn) recordedAt.set(messageId, performance.now())
    else recordedAt.delete(messageId)
  }

  function report ({ messageId, eventType }: WrittenEvent, outcome: Exclude<Outcome, { kind: 'committed' }>): void {
    const fields = { messageId, sequenceNo: outcome.sequenceNo, eventType }
    switch (outcome.kind) {
      case 'failed':
      case 'invalid':
        return log.error('record', { ...fields, err: outcome.error }, 'journal: an event was not recorded')
      case 'unknown':
        return logger.error({
          ...fields, err: outcome.error
        }, 'journal: outcome unknown: an event was sent, and Postgres did not say in time whether it is recorded')
      case 'fenced':
        return log.warn('fenced', fields,
          'journal: an event was not recorded: the message has another writer, or was ended for lack of a sign of life')
      case 'stopped':
        return log.warn('stopped', fields, 'journal: an event was not recorded: the message was stopped')
      case 'ended':
        return log.warn('ended', fields, 'journal: an event was not recorded: the message has ended')
      case 'missing':
        if (knownMissing.has(messageId)) return
        if (knownMissing.size >= MAX_KNOWN_MISSING) knownMissing.clear()
        knownMissing.add(messageId)
        logger.warn(fields, 'journal: an event was not recorded: there is no such message')
    }
  }

  function commit (event: WrittenEvent, payload: string, bytes: number, onRecorded: OnRecorded): void {
    const { messageId, writer, sequenceNo, eventType, ending } = event
    committer.add({
      messageId,
      writer,
      sequenceNo,
      eventType,
      payload,
      bytes,
      ending,
      settle (outcome) {
        if (outcome.kind === 'committed') {
          if (writer === null) noteLife(messageId, terminalTypes({ eventType, payload }) === null)
          onRecorded(outcome.sequenceNo, null)
          if (!outcome.repeated) publish(event, payload, outcome.sequenceNo, true)
          return
        }
        report(event, outcome)
        if (SHOWN_WITHOUT_ROW.has(outcome.kind)) publish(event, payload, outcome.sequenceNo, false)
        onRecorded(null, outcome.kind)
      },
      deadline: Infinity,
      doubtfulSince: null
    })
  }

  function record (event: WrittenEvent, onRecorded: OnRecorded): void {
    const { messageId, sequenceNo, eventType } = event
    const payload = serializePayload(event.payload, maxPayloadBytes)
    if ('error' in payload) {
      log.error(
        'payload', { messageId, sequenceNo, eventType, err: payload.error }, 'journal: an event was not recorded')
      return onRecorded(null, 'invalid')
    }
    if (payload.replaced) {
      log.warn('replaced', {
        messageId, sequenceNo, eventType
      }, 'journal: a payload is not a plain object; {} was recorded in its place')
    }
    commit(event, payload.text, payload.bytes, onRecorded)
  }

  return {
    record,
    recordEvent: (messageId, sequenceNo, eventType, payload) => new Promise((resolve) => {
      const problem = whatIsWrong(messageId, sequenceNo, eventType)
      const id = canonicalMessageId(messageId)
      if (problem !== null || id === null) {
        log.warn('arguments', {
          messageId, sequenceNo, eventType, reason: problem
        }, 'journal: an event was not recorded: its arguments are wrong')
        return resolve(false)
      }
      record({
        messageId: id,
        writer: null,
        sequenceNo,
        eventType: toStorableText(eventType),
        payload,
        ending: null
      }, (recorded) => { resolve(recorded !== null) })
    }),
    recordedWithin (ms) {
      const oldest = performance.now() - ms
      for (const [messageId, at] of recordedAt) if (at < oldest) recordedAt.delete(messageId)
      return [...recordedAt.keys()]
    }
  }
}

/** What is wrong with the arguments of `recordEvent`, or `null`. Callers may have no types. */
function whatIsWrong (messageId: unknown, sequenceNo: unknown, eventType: unknown): string | null {
  if (messageId === undefined || messageId === null || messageId === '') return 'messageId is empty'
  if (canonicalMessageId(messageId) === null) return 'messageId is not a UUID'
  const isOwnNo = isSequenceNo(sequenceNo) && sequenceNo <= MAX_OWN_NO
  if (!isOwnNo) return `sequenceNo is not a whole number from 0 to ${MAX_OWN_NO}`
  return isEventType(eventType) ? null : 'eventType is empty'
}
