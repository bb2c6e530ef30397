import type { Announcement, End, LogEntry, EventLog, Page } from './event-log.js'
import type { ReadQueue } from './read-queue.js'
import type { Subscriber, TopicListener } from '../redis/topic.js'

/** A tail, as its feed sees it. */
export interface FeedTail<Position> {
  /** Called after new entries, and when something may have been missed. */
  wake (): void
  /** Called with the frame of an event that is not in the log. It moves no cursor. */
  showUncommitted (frame: Buffer): void
  /** Called when the stream is over, whatever the reader has. `last` is written before the end. */
  finish (last: Buffer): void
  /** Whether this tail has everything that was announced. */
  isCurrent (): boolean
  readonly cursor: Position
}

/**
 * A page, and the feed's counters when its query was sent. What was announced by then and is not in the page, is not in
 * the log.
 */
export interface DatedPage<Position> extends Page<Position> {
  announcements: number
  doubts: number
}

/** Consecutive recent entries, ready to be written. */
export interface Run<Position> {
  frames: readonly Buffer[]
  last: Position
  terminal: End | null
  ends: End | null
}

/** What all feeds of one kind share. */
export interface FeedContext<Position> {
  /** The position before the first. */
  start: Position
  log: EventLog<Position>
  reads: ReadQueue
  subscriber: Subscriber
  topic (key: string): string
}

/** An entry with the number of positions that had been announced up to it. */
interface AnnouncedEntry<Position> extends LogEntry<Position> {
  announced: number
}

/** How many recent entries are kept. A viewer that is behind by no more need not read the log. */
const MAX_RECENT_ENTRIES = 256
const MAX_RECENT_BYTES = 64 * 1024
/** How long a viewer waits for its subscription before it reads the log without it, in ms. */
const SUBSCRIBE_TIMEOUT_MS = 500

/**
 * What the viewers of one topic in one process share: the subscription, the reads of the log, and the frames of recent
 * events that some viewer has not taken yet.
 *
 * Feed, Tail and Viewer are classes, because there may be ten thousand of them: methods on a prototype cost no memory.
 */
export class Feed<Position> implements TopicListener {
  readonly key: string
  readonly #context: FeedContext<Position>
  readonly #tails = new Set<FeedTail<Position>>()
  #reading: Map<Position, Promise<DatedPage<Position>>> | null = null
  #recent: Array<AnnouncedEntry<Position>> | null = null
  #recentBytes = 0
  #lastRun: { cursor: Position, run: Run<Position> } | null = null
  #newest: Position
  #announcements = 0
  #doubts = 0
  #scheduled = false
  #typeEnds = true
  #subscription: 'none' | 'sent' | 'ready' = 'none'
  #waiting: Array<() => void> | null = null
  #timer: NodeJS.Timeout | undefined

  constructor (context: FeedContext<Position>, key: string) {
    this.#context = context
    this.key = key
    this.#newest = context.start
  }

  get log (): EventLog<Position> { return this.#context.log }
  /** The highest position announced so far. */
  get newest (): Position { return this.#newest }
  /** How many announcements there were so far. */
  get announcements (): number { return this.#announcements }
  /** Grows when something may have been missed. A tail must read the log if it has not done so since. */
  get doubts (): number { return this.#doubts }
  /** Whether a row's type may end the stream, as of the last read of the log. */
  get typeEnds (): boolean { return this.#typeEnds }
  get size (): number { return this.#tails.size }

  join (tail: FeedTail<Position>): void { this.#tails.add(tail) }

  leave (tail: FeedTail<Position>): void {
    if (this.#tails.delete(tail)) this.#schedule()
  }

  /**
   * Subscribes to the topic. Calls back when the subscription is acknowledged, or when Redis does not answer in time. A
   * reader that read the log earlier could miss what is published in between. If the acknowledgement comes late, the
   * log is read again.
   */
  subscribe (callback: () => void): void {
    if (this.#subscription === 'ready') return callback()
    this.#waiting ??= []
    this.#waiting.push(callback)
    if (this.#subscription === 'sent') return
    this.#subscription = 'sent'
    const { subscriber, topic } = this.#context
    this.#timer = setTimeout(() => { this.#releaseWaiting() }, subscriber.connected ? SUBSCRIBE_TIMEOUT_MS : 0)
    subscriber.subscribe(topic(this.key), this)
  }

  /** Called when the feed has no readers any more. */
  unsubscribe (): void {
    clearTimeout(this.#timer)
    const { subscriber, topic } = this.#context
    if (this.#subscription !== 'none') subscriber.unsubscribe(topic(this.key))
  }

  /** Of TopicListener. What was published before the acknowledgement may be lost. */
  subscribed (): void {
    this.invalidate()
    this.#releaseWaiting()
  }

  #releaseWaiting (): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#subscription = 'ready'
    const waiting = this.#waiting
    this.#waiting = null
    if (waiting !== null) for (const callback of waiting) callback()
  }

  /** Of TopicListener. */
  message (text: string): void {
    const announcement = this.log.decode(text)
    if (announcement !== null) this.announce(announcement)
  }

  announce (announcement: Announcement<Position>): void {
    if (announcement.kind === 'hint') {
      if (announcement.position === undefined) return this.invalidate()
      return this.advance(announcement.position)
    }
    if (announcement.kind === 'uncommitted') {
      for (const tail of this.#tails) tail.showUncommitted(announcement.frame)
      return
    }
    const { entry } = announcement
    const isNew = this.log.compare(entry.position, this.#newest) > 0
    // The end of a row that is known already, or a late end: the log decides
    if (!isNew && entry.ends !== null) this.#doubts++
    this.#announcements++
    if (isNew) this.#newest = entry.position
    this.#remember({ ...entry, announced: this.#announcements })
    this.#schedule()
  }

  invalidate (): void {
    this.#doubts++
    this.#schedule()
  }

  /** Called when the log is said, or was seen, to go on up to `position` at least. */
  advance (position: Position): void {
    if (this.log.compare(position, this.#newest) <= 0) return
    this.#newest = position
    this.#announcements++
    this.#schedule()
  }

  /** Ends all tails, because there is nothing to read any more. */
  end (last: Buffer): void {
    for (const tail of this.#tails) tail.finish(last)
  }

  /** The announced entries that directly follow `cursor`; `null`: there is none. */
  after (cursor: Position): Run<Position> | null {
    if (this.#recent === null) return null
    if (this.#lastRun?.cursor === cursor) return this.#lastRun.run
    const entries = consecutive(this.log, this.#recent, cursor)
    const last = entries.at(-1)
    if (last === undefined) return null
    const run = { frames: [joined(entries)], last: last.position, terminal: last.terminal, ends: last.ends }
    this.#lastRun = { cursor, run }
    return run
  }

  /** One read for all tails at the same cursor. Rejects only when the read queue has closed. */
  read (cursor: Position, hasPace = false): Promise<DatedPage<Position>> {
    const reading = this.#reading ??= new Map()
    const shared = reading.get(cursor)
    if (shared !== undefined) return shared
    const read = async (isRetry: boolean): Promise<DatedPage<Position>> => await this.#readLog(cursor, hasPace, isRetry)
    const page = this.#context.reads.run(read).finally(() => {
      reading.delete(cursor)
      if (reading.size === 0) this.#reading = null
    })
    reading.set(cursor, page)
    return page
  }

  async #readLog (cursor: Position, hasPace: boolean, isRetry: boolean): Promise<DatedPage<Position>> {
    const announcements = this.#announcements
    const doubts = this.#doubts
    const page = await this.log.read(this.key, cursor, hasPace, isRetry)
    this.#typeEnds = page.typeEnds !== false
    this.advance(page.last)
    if (page.complete) this.#dropUncommitted(page.last, announcements)
    return { ...page, announcements, doubts }
  }

  #remember (entry: AnnouncedEntry<Position>): void {
    const recent = this.#recent ??= []
    const last = recent.at(-1)
    if (last !== undefined && this.log.compare(entry.position, last.position) <= 0) return
    recent.push(entry)
    this.#recentBytes += entry.frame.length
    while (recent.length > MAX_RECENT_ENTRIES || (this.#recentBytes > MAX_RECENT_BYTES && recent.length > 1)) {
      for (const { frame } of recent.splice(0, 1)) this.#recentBytes -= frame.length
    }
  }

  /** Wakes the tails after all envelopes of one read from Redis, so that each socket is written once. */
  #schedule (): void {
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => { this.#wakeAll() })
  }

  #wakeAll (): void {
    this.#scheduled = false
    let current = true
    for (const tail of this.#tails) {
      tail.wake()
      current &&= tail.isCurrent()
    }
    if (!current) return
    this.#recent = null
    this.#recentBytes = 0
    this.#lastRun = null
  }

  /** Drops announced entries past the log's end that had been announced when it was read: they are not in it. */
  #dropUncommitted (end: Position, announced: number): void {
    const isKept = ({ position, announced: at }: AnnouncedEntry<Position>): boolean => {
      return at > announced || this.log.compare(position, end) <= 0
    }
    if (this.#recent !== null) this.#recent = this.#recent.filter(isKept)
    if (this.#announcements === announced) this.#newest = end
  }
}

function consecutive<Position> (
  log: EventLog<Position>, recent: Array<LogEntry<Position>>, cursor: Position
): Array<LogEntry<Position>> {
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

function joined<Position> (entries: Array<LogEntry<Position>>): Buffer {
  const [first] = entries
  return entries.length === 1 && first !== undefined ? first.frame : Buffer.concat(entries.map((entry) => entry.frame))
}
