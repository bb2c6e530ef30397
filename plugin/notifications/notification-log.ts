import { announcedId, payloadType } from '../wire/envelope.js'
import { userStreamKey } from '../wire/names.js'
import type { EventLog, Page } from '../read/event-log.js'
import { ask, askAll, type Command, type Redis } from '../redis/commands.js'
import { encodeFrame } from '../wire/sse.js'
import { compareStreamIds, FIRST } from '../wire/stream-id.js'

/**
 * The cursor of a reader whose own is unknown. It is before every entry, and the reader is told that entries may be
 * missing.
 */
export const UNKNOWN = ''

const PAGE_ROWS = 50
/**
 * A page ends with the entry that makes it this long, in bytes. Together with PAGE_ROWS it bounds the memory of a
 * reader that does not read.
 */
const PAGE_CHARACTERS = 256 * 1024
const TIMEOUT_MS = 2_000
const HOUR_MS = 3_600_000

/** How much is replayed, and how it is framed. */
export interface UserLogOptions {
  /** Whether frames have an `event:` line. */
  eventNames: boolean
  /** Entries older than this, in hours, are not replayed; 0: all entries in Redis are. */
  replayMaxAgeHours: number
  replayMaxPerRequest: number
}

/**
 * Users' notifications in their Redis Streams, as frames. Positions are the entries' full ids. Every method rejects
 * when Redis cannot be asked.
 */
export interface UserFrames {
  log: EventLog<string>
  /** The newest entry's id, where a reader without a cursor begins. */
  newest (userId: string): Promise<string>
  /** Of users that are known up to an id each: those with a newer entry, and that entry's id. */
  newer (known: ReadonlyMap<string, string>): Promise<Array<[userId: string, id: string]>>
}

interface Entry {
  id: string
  /** `null`: another program's entry, without an envelope. */
  envelope: string | null
}

interface Range {
  entries: Entry[]
  /** Whether nothing was past them. */
  atEnd: boolean
}

/** Reads users' Redis Streams as frames. */
export function createNotificationLog (
  redis: Redis, { eventNames, replayMaxAgeHours, replayMaxPerRequest }: UserLogOptions
): UserFrames {
  const pageRows = Math.min(PAGE_ROWS, replayMaxPerRequest)
  /** How many entries to ask for. Fewer after large ones, of which a page takes one or two. */
  let wanted = pageRows

  async function range (userId: string, from: string, count: number): Promise<Range> {
    const answer = await ask(redis, TIMEOUT_MS, ['XRANGE', userStreamKey(userId), from, '+', 'COUNT', count])
    const entries = toEntries(answer)
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

  /** The frame that a reader gets first when it has, or may have, missed entries. */
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
      frames: frames === '' ? [] : [Buffer.from(frames)],
      rows: shown,
      last,
      terminal: null,
      ends: null,
      typeEnds: false,
      complete: atEnd && taken === entries.length
    }
  }

  /** The time from which entries are replayed, in ms since the epoch. */
  function floor (): number {
    return replayMaxAgeHours === 0 ? 0 : Date.now() - replayMaxAgeHours * HOUR_MS
  }

  /** The id of the newest entry that is too old. */
  async function lastBefore (userId: string, ms: number): Promise<string> {
    return ms === 0 ? FIRST : await newestUpTo(userId, String(ms - 1))
  }

  async function readFromFloor (userId: string): Promise<Page<string>> {
    const from = floor()
    const found = await range(userId, `${from}-0`, wanted)
    return toPage(found.entries.length > 0 ? FIRST : await lastBefore(userId, from), found, notice(found.entries[0]))
  }

  /** The reader's entry is not in the stream: it was trimmed, deleted, or lost with its Redis. */
  async function readWithoutOwn (userId: string, cursor: string, found: Range): Promise<Page<string>> {
    const last = found.entries.length > 0 ? null : await newestUpTo(userId, '+')
    if (last !== null && compareStreamIds(last, cursor) >= 0) return await read(userId, cursor) // it was added just now
    const { entries: [oldest] } = await range(userId, '-', 1)
    // The stream has nothing that is new to the reader. Its cursor moves back, because what comes next may be before it
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
      const commands = [...known].map(([userId, id]): Command => ['XRANGE', userStreamKey(userId), id, '+', 'COUNT', 2])
      const answers = await askAll(redis, TIMEOUT_MS, commands)
      return [...known].flatMap(([userId, id], index): Array<[string, string]> => {
        const next = Array.isArray(answers[index])
          ? toEntries(answers[index]).find((entry) => entry.id !== id)
          : undefined
        return next === undefined ? [] : [[userId, next.id]]
      })
    },

    log: {
      compare: comparePositions,
      // The envelopes of two publishers may arrive in another order than their entries, so nothing is known to be
      // consecutive
      isNext: () => false,
      read,
      decode (envelope) {
        const position = announcedId(envelope)
        return position === null ? null : { kind: 'hint', position }
      }
    }
  }
}

function comparePositions (a: string, b: string): number {
  return a === b ? 0 : a === UNKNOWN ? -1 : b === UNKNOWN ? 1 : compareStreamIds(a, b)
}

/** Adds the id, as the publisher announced it, so that live and replayed frames are the same bytes. */
export function withId (envelope: string, id: string): string {
  return envelope.endsWith('}') && !envelope.endsWith('{}') ? `${envelope.slice(0, -1)},"id":"${id}"}` : envelope
}

/** Parses `[[id, [field, value, …]], …]`. The envelope is the value of the field `event`. */
function toEntries (answer: unknown): Entry[] {
  const entries = answer as Array<[id: string, fields: string[]]> // the reply of XRANGE and XREVRANGE
  return entries.map(([id, fields]) => {
    const name = fields.findIndex((field, index) => index % 2 === 0 && field === 'event')
    return { id, envelope: name < 0 ? null : String(fields[name + 1]) }
  })
}
