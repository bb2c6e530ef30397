import type { Entry, Log, Page } from './log.js'
import type { ReadQueue } from './read-queue.js'

/** What a feed tells its tails. */
export interface FeedTail<Position> {
  /** Something has changed: new entries, or reason for doubt. */
  wake (): void
  /** A frame of an event that is not in the log; never moves a cursor. */
  show (frame: Buffer): void
  /** The stream is over for a reader that has everything; `last`, if any, is written before the end. */
  finish (last: Buffer | null): void
  /** Whether this tail has everything that was announced. */
  isCurrent (): boolean
  readonly cursor: Position
}

/** A page, and the feed's counters when its query was sent: what had been announced by then and is not in the page, is not in the log. */
export interface DatedPage<Position> extends Page<Position> {
  announcements: number
  doubts: number
}

/** Consecutive recent entries, ready to be written. */
export interface Run<Position> {
  frames: Buffer
  last: Position
  terminal: boolean
}

/**
 * What the viewers of one topic in one process share: the subscription, the reads of the log, and the frames of the
 * events that were announced and that some viewer has not taken yet.
 */
export interface Feed<Position> {
  /** The highest position announced so far. */
  readonly newest: Position
  /** How many positions were announced so far. */
  readonly announcements: number
  /** Grows when something may have been missed: a tail that has not read the log since then must. */
  readonly doubts: number
  readonly size: number
  join (tail: FeedTail<Position>): void
  leave (tail: FeedTail<Position>): void
  announce (entry: Entry<Position | null>): void
  doubt (): void
  /** The log goes on up to `position` at least, as somebody has read. */
  advance (position: Position): void
  /** Nothing more will come. Tails that are behind are left to catch up. */
  end (last: Buffer | null): void
  /** The announced entries that follow `cursor` with nothing between; `null` when there is none. */
  after (cursor: Position): Run<Position> | null
  /** One read for all tails at the same cursor. Rejects only when the read queue has closed. */
  read (cursor: Position): Promise<DatedPage<Position>>
}

/** `announced`: how many positions had been announced with this one. */
interface AnnouncedEntry<Position> extends Entry<Position> {
  announced: number
}

/** Enough for a viewer to look away for a moment without a read of the log. */
const MAX_RECENT_ENTRIES = 256
const MAX_RECENT_BYTES = 64 * 1024

export function createFeed<Position> (log: Log<Position>, start: Position, reads: ReadQueue): Feed<Position> {
  const tails = new Set<FeedTail<Position>>()
  const reading = new Map<Position, Promise<DatedPage<Position>>>()
  let recent: Array<AnnouncedEntry<Position>> = []
  let recentBytes = 0
  let lastRun: { cursor: Position, run: Run<Position> } | null = null
  let newest = start
  let announcements = 0
  let doubts = 0
  let scheduled = false

  function remember (entry: AnnouncedEntry<Position>): void {
    const last = recent.at(-1)
    if (last !== undefined && log.compare(entry.position, last.position) <= 0) return
    recent.push(entry)
    recentBytes += entry.frame.length
    while (recent.length > MAX_RECENT_ENTRIES || (recentBytes > MAX_RECENT_BYTES && recent.length > 1)) {
      for (const { frame } of recent.splice(0, 1)) recentBytes -= frame.length
    }
  }

  /** All envelopes of one read from Redis are taken before the viewers are woken, so that each socket is written once. */
  function schedule (): void {
    if (scheduled) return
    scheduled = true
    queueMicrotask(wakeAll)
  }

  function wakeAll (): void {
    scheduled = false
    let current = true
    for (const tail of tails) {
      tail.wake()
      current &&= tail.isCurrent()
    }
    if (current) forget()
  }

  function advance (position: Position): void {
    if (log.compare(position, newest) <= 0) return
    newest = position
    announcements++
    schedule()
  }

  /** The log has the last word: what had been announced when it was read, and lies past its end, is not in it. */
  function disbelieve (end: Position, announced: number): void {
    recent = recent.filter((entry) => entry.announced > announced || log.compare(entry.position, end) <= 0)
    if (announcements === announced) newest = end
  }

  function forget (): void {
    recent = []
    recentBytes = 0
    lastRun = null
  }

  return {
    get newest () { return newest },
    get announcements () { return announcements },
    get doubts () { return doubts },
    get size () { return tails.size },
    join (tail) { tails.add(tail) },
    leave (tail) {
      tails.delete(tail)
      schedule()
    },
    announce ({ position, frame, terminal }) {
      if (position === null) {
        for (const tail of tails) tail.show(frame)
        return
      }
      announcements++
      if (log.compare(position, newest) > 0) newest = position
      remember({ position, frame, terminal, announced: announcements })
      schedule()
    },
    advance,
    end (last) {
      for (const tail of tails) if (last !== null || tail.isCurrent()) tail.finish(last)
    },
    doubt () {
      doubts++
      schedule()
    },
    after (cursor) {
      if (lastRun?.cursor === cursor) return lastRun.run
      const entries = consecutive(log, recent, cursor)
      const last = entries.at(-1)
      if (last === undefined) return null
      const run = { frames: joined(entries), last: last.position, terminal: last.terminal }
      lastRun = { cursor, run }
      return run
    },
    read (cursor) {
      const shared = reading.get(cursor)
      if (shared !== undefined) return shared
      const page = reads.run(async () => {
        const dated = { announcements, doubts }
        const page = await log.read(cursor)
        advance(page.last)
        if (page.complete) disbelieve(page.last, dated.announcements)
        return { ...page, ...dated }
      }).finally(() => { reading.delete(cursor) })
      reading.set(cursor, page)
      return page
    }
  }
}

function consecutive<Position> (log: Log<Position>, recent: Array<Entry<Position>>, cursor: Position): Array<Entry<Position>> {
  const from = recent.findLastIndex(({ position }) => log.compare(position, cursor) <= 0) + 1
  let to = from
  let at = cursor
  for (const entry of recent.slice(from)) {
    if (!log.isNext(at, entry.position)) break
    at = entry.position
    to++
  }
  return recent.slice(from, to)
}

function joined<Position> (entries: Array<Entry<Position>>): Buffer {
  const [first] = entries
  return entries.length === 1 && first !== undefined ? first.frame : Buffer.concat(entries.map((entry) => entry.frame))
}
