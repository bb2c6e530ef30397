import type { Feed, FeedTail } from './feed.js'

/** Where a tail's bytes go. */
export interface Sink {
  /** `false`: it has taken the chunk and wants no more until it calls `resume`. */
  write (chunk: Buffer): boolean
  /** The stream has ended. */
  end (): void
}

export interface Place<Position> {
  /** The cursor of the reader. */
  start: Position
  /** A terminal event up to here ends nothing: the message is known to go on. Default: `start`. */
  endsPast?: Position
  /** How many rows the reader is given before it is live; it ends once more than that are waiting. Default: any number. */
  maxRows?: number
}

export interface Tail<Position> extends FeedTail<Position> {
  /** The sink wants more. Nothing is written before the first call. */
  resume (): void
  /** No method of the sink is called any more. */
  close (): void
}

/** Frames of uncommitted events that a tail keeps while it catches up; they are a courtesy, more of them are dropped. */
const MAX_ASIDE = 16

/**
 * One reader's way through a log: a state machine with two states.
 *
 * *Live*: it has everything that was announced, and takes what comes next from the feed. *Catching up*: it reads the
 * log page by page. It returns to catching up whenever it is unsure, which covers the start, a gap, a socket that
 * was slow for too long, a reconnect to Redis and the look behind a terminal event, all with the same lines of code.
 *
 * A pub/sub message is only a hint that makes it faster; the log decides. A position that was announced and is not
 * in a page read after the announcement is a hole, and is passed over.
 */
export function createTail<Position> (feed: Feed<Position>, { start, endsPast = start, maxRows = Infinity }: Place<Position>, sink: Sink, compare: (a: Position, b: Position) => number): Tail<Position> {
  let cursor = start
  let rowsLeft = maxRows
  /** The feed's counters at the last read that found the log's end: what was announced by then was delivered or is a hole. */
  let announcements = -1
  let doubts = -1
  let terminal = false
  let reading = false
  let blocked = true // until the sink asks for the first time
  let closed = false
  const aside: Buffer[] = []

  function deliver (frames: Buffer, last: Position, endsThere: boolean): void {
    cursor = last
    terminal = endsThere && compare(last, endsPast) > 0
    if (!sink.write(frames)) blocked = true
  }

  /** A terminal event is believed only once nothing stands behind it in the log. */
  function isLive (): boolean {
    const current = compare(cursor, feed.newest) >= 0 || announcements === feed.announcements
    return current && doubts === feed.doubts && !terminal
  }

  function mayAdvance (): boolean {
    return !closed && !blocked && !reading
  }

  function advance (): void {
    while (mayAdvance()) {
      const run = feed.after(cursor)
      if (run !== null) deliver(run.frames, run.last, run.terminal)
      else if (isLive()) return showAside()
      else catchUp()
    }
  }

  async function catchUp (): Promise<void> {
    reading = true
    try {
      const page = await feed.read(cursor)
      reading = false
      if (closed) return
      if (page.rows > rowsLeft) return end() // its cursor brings it back for the rest
      rowsLeft -= page.rows
      if (page.frames.length > 0) deliver(page.frames, page.last, page.terminal)
      cursor = page.last
      if (page.complete) {
        if (terminal) return end()
        rowsLeft = Infinity
        announcements = page.announcements
        doubts = page.doubts
      }
      advance()
    } catch {
      end() // the process is shutting down
    }
  }

  function end (): void {
    if (closed) return
    closed = true
    feed.leave(tail)
    sink.end()
  }

  function showAside (): void {
    while (aside.length > 0 && !blocked) blocked = !sink.write(Buffer.concat(aside.splice(0)))
  }

  const tail: Tail<Position> = {
    get cursor () { return cursor },
    isCurrent: () => closed || (!reading && !blocked && isLive()),
    wake: advance,
    show (frame) {
      if (aside.length < MAX_ASIDE) aside.push(frame)
      advance()
    },
    finish (last) {
      if (last !== null) sink.write(last)
      end()
    },
    resume () {
      blocked = false
      advance()
    },
    close () {
      closed = true
      feed.leave(tail)
    }
  }
  feed.join(tail)
  return tail
}
