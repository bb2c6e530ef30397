import { setImmediate as nextTurn } from 'node:timers/promises'
import type { DatedPage, Feed, FeedTail } from './feed.js'
import type { End } from './event-log.js'
import { encodeEnd } from '../wire/sse.js'

/** Where a tail's bytes go. */
export interface Sink {
  /** `false`: it has taken the frames and wants no more until it calls `resume`. */
  write (frames: readonly Buffer[]): boolean
  /** The stream has ended. */
  end (): void
}

/** Where a tail begins, and how far it reads. */
export interface TailStart<Position> {
  /** The cursor of the reader. */
  start: Position
  /**
   * How many rows the reader is given before it is live; it ends once more than that are waiting. Default: no limit.
   */
  maxRows?: number
  /** Whether the log was seen to be finished: it is read without a subscription, which may not be needed any more. */
  finished?: boolean
}

/**
 * Frames of uncommitted events that a tail keeps while it catches up; they are a courtesy, more of them are dropped.
 */
const MAX_UNCOMMITTED = 16

/**
 * One reader's way through a log: a state machine with two states.
 *
 * *Live*: it has everything that was announced, and takes what comes next from the feed. *Catching up*: it reads the
 * log page by page, one page ahead of its sink. It returns to catching up whenever it is unsure, which covers the
 * start, a gap, a socket that was slow for too long, a reconnect to Redis and the look behind a terminal event, all
 * with the same lines of code.
 *
 * A pub/sub message is only a hint that makes it faster; the log decides. A position that was announced and is not in a
 * page read after the announcement is a hole, and is passed over.
 */
export class Tail<Position> implements FeedTail<Position> {
  readonly #feed: Feed<Position>
  readonly #sink: Sink
  #cursor: Position
  #rowsLeft: number
  /**
   * The feed's counters at the last read that found the log's end: what was announced by then was delivered or is a
   * hole.
   */
  #announcements = -1
  #doubts = -1
  /** What the type of the last row that was delivered says of the end. */
  #terminal: End | null = null
  /** The log goes on behind the last page. */
  #behind = false
  #reading = false
  /** The next page, which the sink has no room for yet. */
  #ahead: DatedPage<Position> | null = null
  #blocked = true // until the sink asks for the first time
  #closed = false
  #uncommitted: Buffer[] | null = null

  constructor (feed: Feed<Position>, { start, maxRows = Infinity }: TailStart<Position>, sink: Sink) {
    this.#feed = feed
    this.#sink = sink
    this.#cursor = start
    this.#rowsLeft = maxRows
    feed.join(this)
  }

  get cursor (): Position { return this.#cursor }

  isCurrent (): boolean {
    return this.#closed || (!this.#reading && !this.#blocked && this.#isLive())
  }

  /** The sink wants more. Nothing is written before the first call. */
  resume (): void {
    this.#blocked = false
    this.wake()
  }

  wake (): void {
    while (!this.#closed && !this.#reading) {
      if (this.#blocked) {
        if (this.#behind && this.#ahead === null) this.#read()
        return
      }
      const run = this.#ahead === null ? this.#feed.after(this.#cursor) : null
      if (this.#ahead !== null) this.#take(this.#ahead)
      else if (run !== null) this.#deliver(run.frames, run.last, run.terminal, run.ends)
      else if (this.#isLive()) return this.#showUncommittedNow()
      else this.#read()
    }
  }

  showUncommitted (frame: Buffer): void {
    this.#uncommitted ??= []
    if (this.#uncommitted.length < MAX_UNCOMMITTED) this.#uncommitted.push(frame)
    this.wake()
  }

  finish (last: Buffer): void {
    this.#sink.write([last])
    this.#close()
  }

  /** No method of the sink is called any more. */
  close (): void {
    this.#closed = true
    this.#ahead = null
    this.#feed.leave(this)
  }

  /** A row's type is believed only once nothing stands behind the row in the log. */
  #isLive (): boolean {
    const current = this.#feed.log.compare(this.#cursor, this.#feed.newest) >= 0 ||
      this.#announcements === this.#feed.announcements
    const mayHaveEnded = this.#terminal !== null && this.#feed.typeEnds
    return current && this.#doubts === this.#feed.doubts && !mayHaveEnded && !this.#behind
  }

  /** `ends`: the stream has ended, and the reader has all of it. */
  #deliver (frames: readonly Buffer[], last: Position, terminal: End | null, ends: End | null): void {
    this.#cursor = last
    this.#terminal = terminal
    const chunks = ends === null ? frames : [...frames, encodeEnd(ends)]
    if (chunks.length > 0 && !this.#sink.write(chunks)) this.#blocked = true
    if (ends !== null) this.#close()
  }

  async #read (): Promise<void> {
    this.#reading = true
    try {
      let page = await this.#feed.read(this.#cursor)
      while (!this.#closed && !this.#blocked && !page.complete) {
        const next = this.#feed.read(page.last, true)
        next.catch(() => {}) // it is awaited below, unless the reader has gone
        await nextTurn() // the store is to work on it while this page is written
        if (this.#closed) break
        this.#take(page)
        page = await next
      }
      this.#reading = false
      if (this.#closed) return
      // By the time that the sink has room, what was the end of the log may not be it any more.
      if (this.#blocked) this.#ahead = { ...page, complete: false }
      else this.#take(page)
      this.wake()
    } catch {
      this.#close() // the process is shutting down
    }
  }

  #take (page: DatedPage<Position>): void {
    this.#ahead = null
    if (page.rows > this.#rowsLeft) return this.#close() // its cursor brings it back for the rest
    this.#rowsLeft -= page.rows
    const terminal = page.rows > 0 ? page.terminal : this.#terminal
    const ends = page.complete ? page.ends ?? endOf(terminal, page.typeEnds) : null
    this.#behind = !page.complete
    this.#deliver(page.frames, page.last, terminal, ends)
    if (!page.complete || ends !== null) return
    this.#terminal = null
    this.#rowsLeft = Infinity
    this.#announcements = page.announcements
    this.#doubts = page.doubts
    this.#feed.subscribe(() => {}) // a log that was thought to be finished goes on
  }

  #close (): void {
    if (this.#closed) return
    this.close()
    this.#sink.end()
  }

  #showUncommittedNow (): void {
    if (this.#uncommitted === null) return
    while (this.#uncommitted.length > 0 && !this.#blocked) {
      this.#blocked = !this.#sink.write(this.#uncommitted.splice(0))
    }
  }
}

/** `typeEnds`: as in `Page`. */
function endOf (terminal: End | null, typeEnds: End | boolean): End | null {
  if (terminal === null || typeEnds === false) return null
  return typeEnds === true ? terminal : typeEnds
}
