import type { FastifyBaseLogger } from 'fastify'
import type { Committer, Outcome, PendingEvent } from './committer.js'
import { encodeEnvelope, isSequenceNo } from './envelope.js'
import type { NewEvent } from './appender.js'
import { canonicalMessageId, messageTopic } from './keys.js'
import type { LimitedLog } from './limited-log.js'
import { serializePayload } from './payload.js'
import type { Publication, Publisher } from './publisher.js'
import { isEventType, storable } from './text.js'

/**
 * Journals one event and publishes it.
 *
 * Never throws and never rejects. `true` exactly when the event's row is committed, under `sequenceNo` or, when that
 * number was taken by a different event, under the message's latest number plus one. `false`, with a line in the
 * log, for an empty or malformed id, number or type, a payload that cannot be serialised or is larger than
 * `maxPayloadBytes`, a message that does not exist, or a database that stayed away for longer than `writeRetryMs`.
 */
export type RecordEvent = (messageId: string, sequenceNo: number, eventType: string, payload?: unknown) => Promise<boolean>

/** An event as a writer has it. */
export interface WrittenEvent extends Pick<NewEvent, 'messageId' | 'sequenceNo' | 'eventType' | 'epoch' | 'finish'> {
  payload: unknown
}

export type Reason = Exclude<Outcome['kind'], 'committed'> | 'refused'

/** The number is the one that the row got; `null`: there is no row, and `reason` says why. */
export type OnRecorded = (sequenceNo: number | null, reason: Reason | null) => void

export interface Recorder {
  recordEvent: RecordEvent
  /** Calls back exactly once; never throws. */
  record (event: WrittenEvent, onRecorded: OnRecorded): void
}

/** The largest number that an app may give: what comes after it needs numbers too, the message's end for one. */
const MAX_OWN_NO = 2_000_000_000
/** Lines about messages that do not exist are written once each; this many are remembered. */
const MAX_KNOWN_MISSING = 1_000

export function createRecorder (committer: Committer, publisher: Publisher, logger: FastifyBaseLogger, log: LimitedLog, maxPayloadBytes: number): Recorder {
  const knownMissing = new Set<string>()
  let publications: Publication[] = []

  /**
   * What is settled in one turn of the event loop is published in one write, behind what the writers send to Postgres in the
   * meantime: they wait for that, and nobody waits for a hint as long.
   */
  function publish ({ messageId, sequenceNo, eventType, payload }: NewEvent, committed: boolean): void {
    const envelope = encodeEnvelope({ messageId, sequenceNo, eventType, payload, committed })
    if (publications.push({ topic: messageTopic(messageId), envelope }) > 1) return
    setImmediate(() => {
      const batch = publications
      publications = []
      publisher.publish(batch)
    })
  }

  function report (event: NewEvent, outcome: Exclude<Outcome, { kind: 'committed' }>): void {
    const { messageId, sequenceNo, eventType } = event
    const fields = { messageId, sequenceNo, eventType }
    if (outcome.kind === 'failed') {
      log.error('record', { ...fields, err: outcome.error }, 'journal: an event was not recorded')
    } else if (outcome.kind === 'fenced') {
      log.warn('fenced', fields, 'journal: an event was not recorded: another writer has taken the message over')
    } else if (outcome.kind === 'stopped') {
      log.warn('stopped', fields, 'journal: an event was not recorded: the message was stopped')
    } else if (!knownMissing.has(messageId)) {
      if (knownMissing.size >= MAX_KNOWN_MISSING) knownMissing.clear()
      knownMissing.add(messageId)
      logger.warn(fields, 'journal: an event was not recorded: there is no such message')
    }
  }

  function commit ({ messageId, sequenceNo, eventType, epoch, finish }: WrittenEvent, payload: string, bytes: number, onRecorded: OnRecorded): void {
    const event: PendingEvent = {
      messageId,
      sequenceNo,
      eventType,
      payload,
      epoch,
      finish,
      bytes,
      deadline: 0,
      unsure: false,
      settle (outcome) {
        if (outcome.kind === 'committed') {
          onRecorded(event.sequenceNo, null)
          if (!outcome.repeated) publish(event, true)
          return
        }
        report(event, outcome)
        if (isKnownAbsent(outcome)) publish(event, false)
        onRecorded(null, outcome.kind)
      }
    }
    committer.add(event)
  }

  function record (event: WrittenEvent, onRecorded: OnRecorded): void {
    const { messageId, sequenceNo, eventType } = event
    const payload = serializePayload(event.payload, maxPayloadBytes)
    if ('error' in payload) {
      log.error('payload', { messageId, sequenceNo, eventType, err: payload.error }, 'journal: an event was not recorded')
      return onRecorded(null, 'refused')
    }
    if (payload.replaced) {
      log.warn('replaced', { messageId, sequenceNo, eventType }, 'journal: a payload is not a plain object; {} was recorded in its place')
    }
    commit(event, payload.text, payload.bytes, onRecorded)
  }

  return {
    record,
    recordEvent: (messageId, sequenceNo, eventType, payload) => new Promise((resolve) => {
      const problem = whatIsWrong(messageId, sequenceNo, eventType)
      const id = canonicalMessageId(messageId)
      if (problem !== null || id === null) {
        log.warn('arguments', { messageId, sequenceNo, eventType, reason: problem }, 'journal: an event was not recorded: its arguments are wrong')
        return resolve(false)
      }
      record({ messageId: id, sequenceNo, eventType: storable(eventType), payload, epoch: null, finish: null }, (recorded) => { resolve(recorded !== null) })
    })
  }
}

/**
 * Whether readers may be shown the event as one that is not in the journal. The message of a writer who was fenced or
 * stopped is not its own any more; and an event that may be in the journal all the same would be shown twice.
 */
function isKnownAbsent (outcome: Exclude<Outcome, { kind: 'committed' }>): boolean {
  return outcome.kind === 'missing' || (outcome.kind === 'failed' && !outcome.unsure)
}

/** For callers without types: what is wrong with the arguments of `recordEvent`, or `null`. */
function whatIsWrong (messageId: unknown, sequenceNo: unknown, eventType: unknown): string | null {
  if (messageId === undefined || messageId === null || messageId === '') return 'messageId is empty'
  if (canonicalMessageId(messageId) === null) return 'messageId is not a UUID'
  if (!isSequenceNo(sequenceNo) || sequenceNo > MAX_OWN_NO) return `sequenceNo is not a whole number from 0 to ${MAX_OWN_NO}`
  return isEventType(eventType) ? null : 'eventType is empty'
}
