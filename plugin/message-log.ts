import { decodeEnvelope, payloadType } from './envelope.js'
import type { Journal, JournalFrames, JournalRow } from './journal.js'
import type { Entry, Log, Page } from './log.js'
import { encodeFrame } from './sse.js'

/** The cursor of a reader that has nothing yet. */
export const START = -1

/** What one read gives at most; it bounds what a reader that has stopped reading costs. */
interface PageLimits {
  rows: number
  /** Of the frames. Strings of 128 KiB and more are kept by V8 until a full collection. */
  bytes: number
}

const PAGE: PageLimits = { rows: 512, bytes: 112 * 1024 }
/** For a reader that keeps pace, the fewer reads the faster. */
const LARGE_PAGE: PageLimits = { rows: 2_048, bytes: 448 * 1024 }
/** Rows are not all of one size. */
const FILL = 0.9
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
  /** The mean of the last page: as many rows are asked for as fit in the next one if they are as large. */
  let frameBytes = 0

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
  function cut (frames: Buffer, bytes: number): Page<number> | null {
    const end = frames.lastIndexOf(FRAME_END, bytes - FRAME_END.length)
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
    const rows = await journal.readPage(messageId, cursor, PAGE.rows, PAGE.bytes)
    const last = rows.at(-1)
    let text = ''
    for (const { sequenceNo, eventType, payload } of rows) text += frame(eventType, payload, sequenceNo)
    return {
      frames: Buffer.from(text),
      rows: rows.length,
      /* c8 ignore next -- they were there a moment ago, and may have been deleted since */
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
      async read (messageId, cursor, hasPace) {
        const limits = hasPace ? LARGE_PAGE : PAGE
        const wanted = Math.min(limits.rows, Math.ceil(limits.bytes * FILL / frameBytes))
        const page = await journal.readFrames(messageId, cursor, wanted, options.eventNames)
        // A large one has been left out; or another program's is pretty-printed.
        if (!isPlain(page)) return await readRows(messageId, cursor)
        const frames = Buffer.from(page.text)
        if (page.rows > 0) frameBytes = frames.length / page.rows
        if (frames.length > limits.bytes) return cut(frames, limits.bytes) ?? await readRows(messageId, cursor)
        const { rows, last, text, complete } = page
        return {
          frames,
          rows,
          last: last?.sequenceNo ?? cursor,
          terminal: last !== null && isTerminal({ eventType: last.eventType, payload: lastPayload(text) }),
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
