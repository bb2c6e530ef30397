import { payloadType } from '../wire/envelope.js'
import { userStreamKey } from '../wire/names.js'
import type { EventLog, Page } from '../read/event-log.js'
import { ask, askAll, type Command, type Redis } from '../redis/commands.js'
import { encodeFrame } from '../wire/sse.js'
import { compareStreamIds, FIRST } from '../wire/stream-id.js'

/** The cursor of a reader whose own says nothing: it stands before every entry, and is told that some may be gone. */
export const UNKNOWN = ''

const PAGE_ROWS = 50
/**
 * A page ends with the entry that makes it this long; with the rows' limit it bounds what a reader that has stopped
 * reading costs.
 */
const PAGE_CHARACTERS = 256 * 1024
const TIMEOUT_MS = 2_000
const HOUR_MS = 3_600_000

/** How much is replayed, and how it is framed. */
export interface UserLogOptions {
  /** Whether frames have an `event:` line. */
  eventNames: boolean
  /** Entries older than this are not replayed; 0: all are that Redis has. */
  replayMaxAgeHours: number
  replayMaxPerRequest: number
}

/**
 * A user's notifications, which a Redis Stream keeps, and how they become frames. Positions are the entries' ids in
 * full. Every method rejects when Redis cannot be asked.
 */
export interface UserFrames {
  log: EventLog<string>
  /** The newest entry's id: where a reader without a cursor begins. */
  newest (userId: string): Promise<string>
  /** Of the users that are known up to an id each: those with an entry past it, and that entry's id. */
  newer (known: ReadonlyMap<string, string>): Promise<Array<[userId: string, id: string]>>
}

interface Entry {
  id: string
  /** `null`: another program's entry, without an envelope. */
  envelope: string | null
}

interface Range {
  entries: Entry[]
  /** There were none behind them. */
  atEnd: boolean
}

/** Reads users' Redis Streams as frames. */
export function createNotificationLog (
  redis: Redis, { eventNames, replayMaxAgeHours, replayMaxPerRequest }: UserLogOptions
): UserFrames {
  const pageRows = Math.min(PAGE_ROWS, replayMaxPerRequest)
  /** How many are asked for: fewer after large ones, of which a page takes one or two. */
  let wanted = pageRows

  async function range (userId: string, from: string, count: number): Promise<Range> {
    const entries = toEntries(
      await ask(redis, TIMEOUT_MS, ['XRANGE', userStreamKey(userId), from, '+', 'COUNT', count]))
    return { entries, atEnd: entries.length < count }
  }

  async function newestUpTo (userId: string, end: string): Promise<string> {
    const entries = toEntries(await ask(redis, TIMEOUT_MS, ['XREVRANGE', userStreamKey(userId), end, '-', 'COUNT', 1]))
    return entries[0]?.id ?? FIRST
  }

  function frame ({ id, envelope }: Entry): string {
    if (envelope === null) return ''
    return encodeFrame({ data: withId(envelope, id), id, ...eventNames && { event: payloadType(envelope) ?? '' } })
  }

  /** What comes first for a reader that has lost something, or cannot be told what it has. */
  function notice (oldest: Entry | undefined): string {
    const data = JSON.stringify({ type: 'backlog.truncated', payload: { oldest_retained_id: oldest?.id ?? null } })
    return encodeFrame({ data, ...eventNames && { event: 'backlog.truncated' } })
  }

  function toPage (cursor: string, { entries, atEnd }: Range, first = ''): Page<string> {
    let frames = first
    let taken = 0
    let shown = 0
    let last = cursor
    for (const entry of entries.slice(0, pageRows)) {
      if (frames.length >= PAGE_CHARACTERS) break
      const text = frame(entry)
      frames += text
      last = entry.id
      taken++
      if (text !== '') shown++ // with nothing to show for them, the reader would come back for the same ones again
    }
    wanted = frames.length >= PAGE_CHARACTERS ? taken : Math.min(wanted * 2, pageRows)
    return {
      frames: frames === ''
        ? []
        : [Buffer.from(frames)],
      rows: shown,
      last,
      terminal: null,
      ends: null,
      typeEnds: false,
      complete: atEnd &&
        taken === entries.length
    }
  }

  /** Where everything begins that is young enough to be replayed, in ms since the epoch. */
  function floor (): number {
    return replayMaxAgeHours === 0 ? 0 : Date.now() - replayMaxAgeHours * HOUR_MS
  }

  /** The newest entry's id of those that are too old. */
  async function lastBefore (userId: string, ms: number): Promise<string> {
    return ms === 0 ? FIRST : await newestUpTo(userId, String(ms - 1))
  }

  async function readFromFloor (userId: string): Promise<Page<string>> {
    const from = floor()
    const found = await range(userId, `${from}-0`, wanted)
    return toPage(found.entries.length > 0 ? FIRST : await lastBefore(userId, from), found, notice(found.entries[0]))
  }

  /** The reader's own entry is not there: was it trimmed, deleted on its own, or lost with the Redis that had it? */
  async function readWithoutOwn (userId: string, cursor: string, found: Range): Promise<Page<string>> {
    const last = found.entries.length > 0 ? null : await newestUpTo(userId, '+')
    if (last !== null && compareStreamIds(last, cursor) >= 0) return await read(userId, cursor) // it was added just now
    const { entries: [oldest] } = await range(userId, '-', 1)
    // Nothing that the stream has is new to the reader. Its cursor moves back: what comes next may stand behind it.
    if (last !== null) return toPage(last, found, notice(oldest))
    return toPage(cursor, found, oldest !== undefined && compareStreamIds(oldest.id, cursor) > 0 ? notice(oldest) : '')
  }

  async function read (userId: string, cursor: string): Promise<Page<string>> {
    if (cursor === UNKNOWN) return await readFromFloor(userId)
    const found = await range(userId, cursor, wanted + 1)
    const own = found.entries[0]?.id === cursor ? found.entries.shift() : undefined
    const [next] = found.entries
    if (next !== undefined && compareStreamIds(next.id, `${floor()}-0`) < 0) return await readFromFloor(userId)
    return own !== undefined || cursor === FIRST ? toPage(cursor, found) : await readWithoutOwn(userId, cursor, found)
  }

  return {
    newest: async (userId) => await newestUpTo(userId, '+'),
    async newer (known) {
      const answers = await askAll(redis, TIMEOUT_MS, [...known].map(
        ([userId, id]): Command => ['XRANGE', userStreamKey(userId), id, '+', 'COUNT', 2]))
      return [...known].flatMap(([userId, id], index): Array<[string, string]> => {
        const next = Array.isArray(answers[index])
          ? toEntries(answers[index]).find((entry) => entry.id !== id)
          : undefined
        return next === undefined ? [] : [[userId, next.id]]
      })
    },

    log: {
      compare: comparePositions,
      // Two publishers' envelopes may come in another order than their entries, and nothing tells what is between.
      isNext: () => false,
      read
    }
  }
}

function comparePositions (a: string, b: string): number {
  return a === b ? 0 : a === UNKNOWN ? -1 : b === UNKNOWN ? 1 : compareStreamIds(a, b)
}

/** With its id, as the publisher announced it: a reader gets the same bytes whether it was there or comes later. */
export function withId (envelope: string, id: string): string {
  return envelope.endsWith('}') && !envelope.endsWith('{}') ? `${envelope.slice(0, -1)},"id":"${id}"}` : envelope
}

/** `[[id, [field, value, …]], …]`; the envelope is the value of `event`. */
function toEntries (answer: unknown): Entry[] {
  const entries = answer as Array<[id: string, fields: string[]]> // the reply of XRANGE and XREVRANGE
  return entries.map(([id, fields]) => {
    const name = fields.findIndex((field, index) => index % 2 === 0 && field === 'event')
    return { id, envelope: name < 0 ? null : String(fields[name + 1]) }
  })
}
