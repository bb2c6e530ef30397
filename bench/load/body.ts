const CR = 0x0d
const LF = 0x0a

/** What arrived is not what must arrive. */
export class WireError extends Error {
  override readonly name = 'WireError'
}

/**
 * Takes the body of an HTTP/1.1 response out of its chunks (RFC 9112, section 7.1), as ranges of the buffers that arrive,
 * without a copy. A body that is not chunked ends with its connection.
 */
export interface Body {
  /** True once the last chunk is over. Throws a WireError when what arrives is not chunks. */
  take (buffer: Buffer, from: number, to: number): boolean
}

export function createBody (chunked: boolean, onData: (buffer: Buffer, from: number, to: number) => void): Body {
  let size = 0
  /** How much of the present chunk is still to come. */
  let left = 0
  let reading: 'size' | 'extension' | 'data' | 'after' = 'size'
  let over = false

  function takeByte (byte: number): void {
    if (reading === 'size') {
      const digit = Number.parseInt(String.fromCharCode(byte), 16)
      if (byte === CR) reading = 'extension'
      else if (Number.isNaN(digit)) throw new WireError(`a chunk's size has the byte ${byte}`)
      else size = size * 16 + digit
    } else if (reading === 'extension') {
      if (byte !== LF) throw new WireError('a chunk\'s size does not end its line')
      left = size
      size = 0
      reading = left > 0 ? 'data' : 'after'
      over = left === 0
    } else if (byte === LF) reading = 'size'
    else if (byte !== CR) throw new WireError(`behind a chunk is the byte ${byte}`)
  }

  return {
    take (buffer, from, to) {
      if (!chunked) {
        onData(buffer, from, to)
        return false
      }
      let at = from
      while (at < to && !over) {
        if (reading !== 'data') {
          takeByte(buffer[at++] ?? 0)
          continue
        }
        const end = Math.min(to, at + left)
        onData(buffer, at, end)
        left -= end - at
        at = end
        if (left === 0) reading = 'after'
      }
      return over
    }
  }
}
