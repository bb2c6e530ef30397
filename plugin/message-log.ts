import { decodeEnvelope, payloadType } from './envelope.js'
import type { Journal, JournalFrames, JournalRow } from './journal.js'
import type { Entry, Log, Page } from './log.js'
import { encodeFrame } from './sse.js'

/** The cursor of a reader that has nothing yet. */
export const START = -1

/** What one read gives at most; it bounds what a reader that has stopped reading costs. */
interface PageLimits {
  rows: number
  /** Of the frames. */
  bytes: number
}

const PAGE: PageLimits = { rows: 512, bytes: 112 * 1024 }
/** For a reader that keeps pace, the fewer reads the faster. */
const LARGE_PAGE: PageLimits = { rows: 2_048, bytes: 448 * 1024 }
/** Rows are not all of one size. */
const FILL = 0.9
/** A part of a large page: strings of 128 KiB and more are kept by V8 until a full collection. */
const PART: PageLimits = { rows: 256, bytes: 64 * 1024 }
const DATA = 'data: '
const ID = '\nid: '

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
  /** The mean of the last page. */
  let frameBytes = 0

  function frame (eventType: string, payload: string, id?: number): string {
    return encodeFrame({ data: payload, ...id !== undefined && { id }, ...options.eventNames && { event: eventType } })
  }

  function isTerminal ({ eventType, payload }: Pick<JournalRow, 'eventType' | 'payload'>): boolean {
    return terminalTypes.has(eventType) || terminalTypes.has(payloadType(payload) ?? '')
  }

  /** Whether these are the frames of all of the rows, a line each. */
  function isPlain ({ rows, text }: JournalFrames): boolean {
    return !text.includes('\r') && countLines(text) === rows * linesPerFrame
  }

  /** How many rows are asked for, if the next ones are as large as the last. */
  function rowsWithin ({ rows, bytes }: PageLimits): number {
    return Math.min(rows, Math.ceil(bytes * FILL / frameBytes))
  }

  /** As many of them as fit in a page: the rows may be larger than those that were read before. */
  function countFitting (frames: readonly Buffer[], rows: number, limit: number): number {
    let bytes = frames.reduce((sum, { length }) => sum + length, 0)
    frameBytes = bytes / rows
    let count = frames.length
    while (bytes > limit) bytes -= Number(frames[--count]?.length)
    return count
  }

  /** Whether these are all, the next read says. */
  async function readRows (messageId: string, cursor: number): Promise<Page<number>> {
    const rows = await journal.readPage(messageId, cursor, PAGE.rows, PAGE.bytes)
    const last = rows.at(-1)
    if (last === undefined) return nothingPast(cursor) // they have been deleted since they were found
    const text = rows.map(({ sequenceNo, eventType, payload }) => frame(eventType, payload, sequenceNo)).join('')
    return { frames: [Buffer.from(text)], rows: rows.length, last: last.sequenceNo, terminal: isTerminal(last), complete: false }
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
        const wanted = rowsWithin(limits)
        const parts = await journal.readFrames(messageId, cursor, wanted, hasPace ? rowsWithin(PART) : null, options.eventNames)
        const found = countRows(parts)
        if (found === 0) return nothingPast(cursor)
        // A large one has been left out; or another program's is pretty-printed.
        if (!parts.every(isPlain)) return await readRows(messageId, cursor)
        const frames = parts.map(({ text }) => Buffer.from(text))
        const fitting = parts.slice(0, countFitting(frames, found, limits.bytes))
        const last = fitting.at(-1)
        if (last === undefined) return await readRows(messageId, cursor)
        return {
          frames: frames.slice(0, fitting.length),
          rows: countRows(fitting),
          last: last.sequenceNo,
          terminal: isTerminal({ eventType: last.eventType, payload: lastPayload(last.text) }),
          complete: found < wanted && fitting.length === parts.length
        }
      }
    }
  }
}

function nothingPast (cursor: number): Page<number> {
  return { frames: [], rows: 0, last: cursor, terminal: false, complete: true }
}

function countRows (parts: readonly JournalFrames[]): number {
  return parts.reduce((sum, { rows }) => sum + rows, 0)
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
