import { setImmediate as nextTurn } from 'node:timers/promises'
import type { DatedPage, Feed, FeedTail } from './feed.js'
import type { End } from './event-log.js'
import { encodeEnd } from '../wire/sse.js'

/** The target of a tail's bytes. */
export interface Sink {
  /** Takes the frames. `false`: it wants no more until it calls `resume`. */
  write (frames: readonly Buffer[]): boolean
  /** The stream has ended. */
  end (): void
}

/** Where a tail begins, and how far it reads. */
export interface TailStart<Position> {
  /** The cursor of the reader. */
  start: Position
  /** How many rows the reader gets before it is live. The stream ends when more are waiting. Default: no limit. */
  maxRows?: number
  /** Whether the log was seen to be finished. Then it is read without waiting for a subscription. */
  finished?: boolean
}

/** How many frames of uncommitted events a tail keeps while it catches up. More are dropped. */
const MAX_UNCOMMITTED = 16

/**
 * One reader's way through a log: a state machine with two states.
 * - *Live*: it has everything that was announced, and takes what comes next from the feed.
 * - *Catching up*: it reads the log page by page, one page ahead of its sink.
 *
 * It returns to catching up whenever it is unsure. That covers the start, a gap, a slow socket, a reconnect to Redis
 * and the look behind a terminal event with the same code. An announcement of the very next position is taken as it
 * is; every other one is a hint, and the log decides. A position that was announced and is not in a page read after
 * the announcement is a hole, and is skipped.
 */
export class Tail<Position> implements FeedTail<Position> {
  readonly #feed: Feed<Position>
  readonly #sink: Sink
  #cursor: Position
  #rowsLeft: number
  /**
   * The feed's counters at the last read that found the log's end. What was announced by then was delivered, or is a
   * hole.
   */
  #announcements = -1
  #doubts = -1
  /** The end that the type of the last delivered row stands for. */
  #terminal: End | null = null
  /** Whether the log goes on after the last page. */
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

  /** Called by the sink when it wants more. Nothing is written before the first call. */
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

  /** Ends the tail. It calls the sink no more. */
  close (): void {
    this.#closed = true
    this.#ahead = null
    this.#feed.leave(this)
  }

  /**
   * Whether it has everything that was announced, and nothing is in doubt. After a row of a terminal type only a read
   * of the log tells.
   */
  #isLive (): boolean {
    const current = this.#feed.log.compare(this.#cursor, this.#feed.newest) >= 0 ||
      this.#announcements === this.#feed.announcements
    const mayHaveEnded = this.#terminal !== null && this.#feed.typeEnds
    return current && this.#doubts === this.#feed.doubts && !mayHaveEnded && !this.#behind
  }

  /** Gives frames to the sink. `ends`: the stream has ended, and the reader then has all of it. */
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
      // By the time that the sink has room, the log may have grown
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
