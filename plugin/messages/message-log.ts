import { decodeEnvelope } from '../wire/envelope.js'
import type { Journal } from '../postgres/journal.js'
import type { JournalFrames, JournalRow, ReadState } from '../postgres/rows.js'
import type { Announcement, EventLog, Page } from '../read/event-log.js'
import { encodeFrame } from '../wire/sse.js'
import type { TerminalTypes } from '../wire/terminal-types.js'

/** The cursor of a reader that has nothing yet. */
export const START = -1

/** The most that one read returns. It bounds the memory of a reader that does not read. */
interface PageLimits {
  rows: number
  /** Of the frames. */
  bytes: number
}

const PAGE: PageLimits = { rows: 512, bytes: 112 * 1024 }
/** For a reader that keeps pace: fewer reads are faster. */
const LARGE_PAGE: PageLimits = { rows: 2_048, bytes: 448 * 1024 }
/** Rows are not all of one size. */
const FILL = 0.9
/** A part of a large page. V8 keeps strings of 128 KiB and more until a full collection. */
const PART: PageLimits = { rows: 256, bytes: 64 * 1024 }
const DATA = 'data: '
const ID = '\nid: '

/** How rows become frames. */
export interface MessageLogOptions {
  /** Whether frames have an `event:` line. */
  eventNames: boolean
}

/** How a message's events become frames; the same bytes whether they come from the journal or from the topic. */
export interface MessageFrames {
  log: EventLog<number>
  /** A frame without an id, for what is not in the journal. */
  encode (payload: object): Buffer
}

/** Reads the journal's rows as frames, and decodes the envelopes that announce them. */
export function createMessageFrames (
  journal: Journal, terminalTypes: TerminalTypes, options: MessageLogOptions
): MessageFrames {
  const linesPerFrame = options.eventNames ? 4 : 3
  /** The mean bytes of a frame in the last page. */
  let frameBytes = 0

  function frame (eventType: string, payload: string, id?: number): string {
    return encodeFrame({ data: payload, ...id !== undefined && { id }, ...options.eventNames && { event: eventType } })
  }

  /**
   * What a page says of the message's end. `last`: its last row. A deleted message counts as not ended; the reconciler
   * ends its readers.
   */
  function pageEnd (
    state: ReadState | null, last: Pick<JournalRow, 'eventType' | 'payload'> | null
  ): Pick<Page<number>, 'terminal' | 'ends' | 'typeEnds'> {
    const terminal = last === null ? null : terminalTypes(last)
    if (state === null) return { terminal, ends: null, typeEnds: false }
    const { status, isLeased, endedNo } = state
    if (status === 'streaming') return { terminal, ends: null, typeEnds: !isLeased }
    // A status without a terminal event will still get one
    return { terminal, ends: endedNo === null ? null : status, typeEnds: status }
  }

  /** Whether these are the frames of all of the rows, with one `data:` line each. */
  function isPlain ({ rows, text }: JournalFrames): boolean {
    return !text.includes('\r') && countLines(text) === rows * linesPerFrame
  }

  /** How many rows to ask for, if they are as large as the last ones. */
  function rowsWithin ({ rows, bytes }: PageLimits): number {
    return Math.min(rows, Math.ceil(bytes * FILL / frameBytes))
  }

  /** The rows that fit in a page. They may be larger than those before. */
  function countFitting (frames: readonly Buffer[], rows: number, limit: number): number {
    let bytes = frames.reduce((sum, { length }) => sum + length, 0)
    frameBytes = bytes / rows
    let count = frames.length
    while (bytes > limit) bytes -= Number(frames[--count]?.length)
    return count
  }

  /** The next read tells whether these are all */
  async function readRows (messageId: string, cursor: number, isRetry: boolean): Promise<Page<number>> {
    const { rows, state } = await journal.readPage(messageId, cursor, PAGE.rows, PAGE.bytes, isRetry)
    const last = rows.at(-1) ?? null
    const text = rows.map(({ sequenceNo, eventType, payload }) => frame(eventType, payload, sequenceNo)).join('')
    return {
      frames: rows.length === 0 ? [] : [Buffer.from(text)],
      rows: rows.length,
      last: last?.sequenceNo ?? cursor, // without rows: they have been deleted since they were found
      ...pageEnd(state, last),
      complete: false
    }
  }

  async function readFrames (
    messageId: string, cursor: number, hasPace: boolean, isRetry: boolean
  ): Promise<Page<number>> {
    const limits = hasPace ? LARGE_PAGE : PAGE
    const wanted = rowsWithin(limits)
    const together = hasPace ? rowsWithin(PART) : null
    const { parts, state } = await journal.readFrames(messageId, cursor, wanted, together, options.eventNames, isRetry)
    const found = countRows(parts)
    // Without rows, a large page does not say whether the message has ended
    if (found === 0 && hasPace) return await readFrames(messageId, cursor, false, isRetry)
    if (found === 0) return { frames: [], rows: 0, last: cursor, ...pageEnd(state, null), complete: true }
    // A large one has been left out; or another program's is pretty-printed.
    if (!parts.every(isPlain)) return await readRows(messageId, cursor, isRetry)
    const frames = parts.map(({ text }) => Buffer.from(text))
    const fitting = parts.slice(0, countFitting(frames, found, limits.bytes))
    const last = fitting.at(-1)
    if (last === undefined) return await readRows(messageId, cursor, isRetry)
    return {
      frames: frames.slice(0, fitting.length),
      rows: countRows(fitting),
      last: last.sequenceNo,
      ...pageEnd(state, { eventType: last.eventType, payload: lastPayload(last.text) }),
      complete: found < wanted && fitting.length === parts.length
    }
  }

  function decode (envelope: string): Announcement<number> | null {
    const event = decodeEnvelope(envelope)
    if (event === null) return null
    const { sequenceNo, eventType, payload, committed, ends } = event
    if (committed === null) return { kind: 'hint' }
    if (!committed) return { kind: 'uncommitted', frame: Buffer.from(frame(eventType, payload)) }
    const bytes = Buffer.from(frame(eventType, payload, sequenceNo))
    return { kind: 'entry', entry: { position: sequenceNo, frame: bytes, terminal: terminalTypes(event), ends } }
  }

  return {
    encode: (payload) => Buffer.from(frame('error', JSON.stringify(payload))),

    log: {
      compare: (a, b) => a - b,
      isNext: (cursor, position) => position === cursor + 1,
      read: readFrames,
      decode
    }
  }
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
