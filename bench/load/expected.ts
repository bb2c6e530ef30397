import { frameOf, type FrameStyle } from '../harness/workload.js'

/** The frames of a message as they must arrive, one after another; made as they are needed. */
export interface Expected {
  /** At least as many bytes as were asked for, unless the message has fewer. Not to be kept: it is replaced as it grows. */
  upTo (bytes: number): Buffer
  /** Where frame `n` ends; frame -1 ends at 0. */
  endOf (n: number): number
}

const BLOCK_FRAMES = 256

/** `rows`: how many the message has, the last of them its terminal event; `Infinity`: it has no end. */
export function createExpected (style: FrameStyle, key: string, rows: number): Expected {
  const ends: number[] = []
  let bytes = Buffer.alloc(0)
  let filled = 0

  function addBlock (): void {
    const block: Buffer[] = []
    for (const until = Math.min(rows, ends.length + BLOCK_FRAMES); ends.length < until;) {
      const frame = Buffer.from(frameOf(style, key, ends.length, ends.length === rows - 1))
      block.push(frame)
      filled += frame.length
      ends.push(filled)
    }
    const added = Buffer.concat(block)
    if (filled > bytes.length) {
      const larger = Buffer.alloc(Math.max(filled, bytes.length * 2))
      bytes.copy(larger)
      bytes = larger
    }
    added.copy(bytes, filled - added.length)
  }

  return {
    upTo (wanted) {
      while (filled < wanted && ends.length < rows) addBlock()
      return bytes.subarray(0, filled)
    },
    endOf (n) {
      while (ends.length <= n && ends.length < rows) addBlock()
      return n < 0 ? 0 : ends[n] ?? NaN
    }
  }
}

/** One for each key that messages have, since messages of the same key have the same frames. */
export function createExpectations (style: FrameStyle, rows: number): (key: string) => Expected {
  const byKey = new Map<string, Expected>()
  return (key) => {
    const expected = byKey.get(key) ?? createExpected(style, key, rows)
    byKey.set(key, expected)
    return expected
  }
}
