import { decodeEnvelope, payloadType } from './envelope.js'
import type { Journal, JournalFrames, JournalRow } from './journal.js'
import type { Entry, Log, Page } from './log.js'
import { encodeFrame } from './sse.js'

/** The cursor of a reader that has nothing yet. */
export const START = -1

/** Pages of which the text stays below 128 KiB: larger strings are kept by V8 until a full collection. */
const PAGE_ROWS = 512
/** Of stored size; with the rows' limit it bounds what a reader that has stopped reading costs. */
const PAGE_BYTES = 112 * 1024
const DATA = 'data: '

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

  /** The text of a page whose rows are a line each, or whose line breaks are all ours. */
  function isPlain ({ rows, text }: JournalFrames): boolean {
    return !text.includes('\r') && countLines(text) === rows * (options.eventNames ? 4 : 3)
  }

  /** Whether these are all, the next read says. */
  async function readRows (messageId: string, cursor: number): Promise<Page<number>> {
    const rows = await journal.readPage(messageId, cursor, PAGE_ROWS, PAGE_BYTES)
    const last = rows.at(-1)
    let text = ''
    for (const { sequenceNo, eventType, payload } of rows) text += frame(eventType, payload, sequenceNo)
    return {
      frames: Buffer.from(text),
      rows: rows.length,
      last: last?.sequenceNo ?? cursor,
      terminal: last !== undefined && isTerminal(last),
      complete: rows.length === 0
    }
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
        const page = await journal.readFrames(messageId, cursor, PAGE_ROWS, PAGE_BYTES, options.eventNames)
        // Large ones; or another program's, pretty-printed for one.
        if (page === null || !isPlain(page)) return await readRows(messageId, cursor)
        const { rows, last, eventType, text, complete } = page
        return {
          frames: Buffer.from(text),
          rows,
          last: last ?? cursor,
          terminal: last !== null && isTerminal({ eventType: eventType ?? '', payload: lastPayload(text) }),
          complete
        }
      }
    }
  }
}

function countLines (text: string): number {
  let lines = 0
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines++
  return lines
}

/** Of frames of one data line each. */
function lastPayload (frames: string): string {
  const end = frames.lastIndexOf('\nid: ')
  return frames.slice(frames.lastIndexOf('\n', end - 1) + 1 + DATA.length, end)
}
