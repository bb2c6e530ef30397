import { decodeEnvelope, payloadType } from './envelope.js'
import type { Journal, JournalRow } from './journal.js'
import type { Entry, Log } from './log.js'
import { encodeFrame } from './sse.js'

/** The cursor of a reader that has nothing yet. */
export const START = -1

const PAGE_ROWS = 1_000
/** Of stored size; with the rows' limit it bounds what a reader that has stopped reading costs. */
const PAGE_BYTES = 256 * 1024
/** The length word that Postgres stores with a payload and counts in its size. */
const LENGTH_WORD_BYTES = 4

export interface MessageLogOptions {
  /** The event types that end a message, in `event_type` or in `payload.type`. */
  terminalTypes: readonly string[]
  /** Whether frames have an `event:` line. */
  eventNames: boolean
}

/** How a message's events become frames; the same bytes whether they come from the journal or from the topic. */
export interface MessageFrames {
  log: Log<number>
  /** `null` when the text is no envelope. `position: null`: the row did not commit, and the frame has no id. */
  decode (envelope: string): Entry<number | null> | null
  /** A frame without an id, for what is not in the journal. */
  encode (payload: object): Buffer
  isTerminal (row: Pick<JournalRow, 'eventType' | 'payload'>): boolean
}

export function createMessageFrames (journal: Journal, options: MessageLogOptions): MessageFrames {
  const terminalTypes = new Set(options.terminalTypes)

  function frame (eventType: string, payload: string, id?: number): string {
    return encodeFrame({ data: payload, ...id !== undefined && { id }, ...options.eventNames && { event: eventType } })
  }

  function isTerminal ({ eventType, payload }: Pick<JournalRow, 'eventType' | 'payload'>): boolean {
    return terminalTypes.has(eventType) || terminalTypes.has(payloadType(payload) ?? '')
  }

  return {
    isTerminal,
    encode: (payload) => Buffer.from(frame('error', JSON.stringify(payload))),

    decode (envelope) {
      const event = decodeEnvelope(envelope)
      if (event === null) return null
      const { sequenceNo, eventType, payload, committed } = event
      return {
        position: committed ? sequenceNo : null,
        frame: Buffer.from(frame(eventType, payload, committed ? sequenceNo : undefined)),
        terminal: terminalTypes.has(eventType) || terminalTypes.has(event.payloadType ?? '')
      }
    },

    log: {
      compare: (a, b) => a - b,
      isNext: (cursor, position) => position === cursor + 1,
      async read (messageId, cursor) {
        const rows = await journal.readPage(messageId, cursor, PAGE_ROWS, PAGE_BYTES)
        const last = rows.at(-1)
        let text = ''
        for (const { sequenceNo, eventType, payload } of rows) text += frame(eventType, payload, sequenceNo)
        const frames = Buffer.from(text)
        return {
          frames,
          rows: rows.length,
          last: last?.sequenceNo ?? cursor,
          terminal: last !== undefined && isTerminal(last),
          // A frame is longer than its payload is stored, so a page this small was cut by neither limit.
          complete: rows.length < PAGE_ROWS && frames.length + rows.length * LENGTH_WORD_BYTES < PAGE_BYTES
        }
      }
    }
  }
}
