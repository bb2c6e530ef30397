import { WireError } from './body.js'
import type { Expected } from './expected.js'

/** What a reader has of a message. */
export interface Reading {
  /** The number of the last frame that has arrived whole; what the cursor was when it began. */
  readonly last: number
  /** How long the server said to wait before a reconnect, in ms; `null`: it has not said. */
  readonly retryMs: number | null
  /**
   * Takes the next bytes of the body. Throws a WireError at the first byte that is not the one that must come next: so a frame that is out of
   * order, missing, doubled or altered is an error. Comments and `retry:` may stand between frames.
   */
  take (buffer: Buffer, from: number, to: number): void
}

const LF = 0x0a
const COLON = 0x3a
const LETTER_R = 0x72

/** `onFrame` is called once for each frame, when it has arrived whole. */
export function createReading (expected: Expected, cursor: number, onFrame: (n: number) => void): Reading {
  let position = expected.endOf(cursor)
  let last = cursor
  let nextEnd = expected.endOf(cursor + 1)
  let atStart = true
  /** Within a comment or a `retry:`, which end with an empty line. */
  let skipping = false
  let lineIsEmpty = false
  let isRetry = false
  let retry = ''

  function skip (buffer: Buffer, from: number, to: number): number {
    for (let at = from; at < to; at++) {
      if (isRetry) retry += String.fromCharCode(buffer[at] ?? 0)
      if (buffer[at] !== LF) lineIsEmpty = false
      else if (!lineIsEmpty) lineIsEmpty = true
      else {
        skipping = false
        return at + 1
      }
    }
    return to
  }

  function compare (buffer: Buffer, from: number, to: number): number {
    const wanted = expected.upTo(position + to - from)
    const length = Math.min(to - from, wanted.length - position)
    if (length === 0 || wanted.compare(buffer, from, from + length, position, position + length) !== 0) {
      // Another frame may be right and a comment stand behind it
      return compareFrame(buffer, from, to, wanted)
    }
    return from + length
  }

  /** As `compare`, no further than to the end of the frame. */
  function compareFrame (buffer: Buffer, from: number, to: number, wanted: Buffer): number {
    const length = Math.min(to - from, nextEnd - position)
    if (!(length > 0) || wanted.compare(buffer, from, from + length, position, position + length) !== 0) {
      throw new WireError(`after frame ${last} came ${JSON.stringify(buffer.toString('utf8', from, Math.min(to, from + 300)))}`)
    }
    return from + length
  }

  function advance (bytes: number): void {
    position += bytes
    while (position >= nextEnd) {
      onFrame(++last)
      nextEnd = expected.endOf(last + 1)
    }
    atStart = position === expected.endOf(last)
  }

  return {
    get last () { return last },
    get retryMs () {
      const ms = Number.parseInt(retry.slice('retry:'.length), 10)
      return Number.isNaN(ms) ? null : ms
    },
    take (buffer, from, to) {
      let at = from
      while (at < to) {
        if (atStart && (buffer[at] === COLON || buffer[at] === LETTER_R)) {
          skipping = true
          isRetry = buffer[at] === LETTER_R
          if (isRetry) retry = ''
          lineIsEmpty = false
          atStart = false
        }
        if (skipping) {
          at = skip(buffer, at, to)
          atStart = !skipping
        } else {
          const next = compare(buffer, at, to)
          advance(next - at)
          at = next
        }
      }
    }
  }
}
