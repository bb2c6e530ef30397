import { decodeEnvelope, payloadType } from './envelope.js'
import type { Journal, JournalFrames, JournalRow } from './journal.js'
import type { Entry, Log, Page } from './log.js'
import { encodeFrame } from './sse.js'

/** The cursor of a reader that has nothing yet. */
export const START = -1

const PAGE_ROWS = 512
/**
 * Of a page's frames: with the rows' limit it bounds what a reader that has stopped reading costs. Strings of 128 KiB and
 * more are kept by V8 until a full collection.
 */
const PAGE_BYTES = 112 * 1024
const DATA = 'data: '
const ID = '\nid: '
const FRAME_END = '\n\n'

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
  const linesPerFrame = options.eventNames ? 4 : 3
  /** How many rows are asked for: as many as fit in a page when they are as large as those of the last one. */
  let wanted = PAGE_ROWS

  function frame (eventType: string, payload: string, id?: number): string {
    return encodeFrame({ data: payload, ...id !== undefined && { id }, ...options.eventNames && { event: eventType } })
  }

  function isTerminal ({ eventType, payload }: Pick<JournalRow, 'eventType' | 'payload'>): boolean {
    return terminalTypes.has(eventType) || terminalTypes.has(payloadType(payload) ?? '')
  }

  /** The text of a page that has all of its rows, a line each. */
  function isPlain ({ rows, text }: JournalFrames): boolean {
    return !text.includes('\r') && countLines(text) === rows * linesPerFrame
  }

  /** The whole frames that fit in a page: the rows are larger than those that were read before. `null`: none fits. */
  function cut (frames: Buffer): Page<number> | null {
    const end = frames.lastIndexOf(FRAME_END, PAGE_BYTES - FRAME_END.length)
    if (end < 0) return null
    const text = frames.toString('utf8', 0, end + FRAME_END.length)
    return {
      frames: Buffer.from(text),
      rows: countLines(text) / linesPerFrame,
      last: Number(text.slice(text.lastIndexOf(ID) + ID.length)),
      terminal: false,
      complete: false
    }
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
        const page = await journal.readFrames(messageId, cursor, wanted, options.eventNames)
        // A large one has been left out; or another program's is pretty-printed.
        if (!isPlain(page)) return await readRows(messageId, cursor)
        const frames = Buffer.from(page.text)
        if (page.rows > 0) wanted = Math.min(PAGE_ROWS, Math.ceil(page.rows * PAGE_BYTES * 0.9 / frames.length))
        if (frames.length > PAGE_BYTES) return cut(frames) ?? await readRows(messageId, cursor)
        const { rows, last, eventType, text, complete } = page
        return {
          frames,
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
  const end = frames.lastIndexOf(ID)
  return frames.slice(frames.lastIndexOf('\n', end - 1) + 1 + DATA.length, end)
}
