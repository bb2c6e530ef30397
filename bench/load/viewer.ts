import { createConnection, type Connection, type ConnectionOptions } from './connection.js'
import type { Expected } from './expected.js'
import { createReading } from './reading.js'

export interface ViewerOptions extends Pick<ConnectionOptions, 'port' | 'path' | 'onRequest' | 'onHead' | 'onEnd'> {
  /** The last frame that it has already; -1: none, and no cursor is sent. */
  cursor: number
  expected: Expected
  /** The frame has arrived, whole and as it must be. */
  onFrame: (n: number) => void
}

/** A reader of a message, which knows what must come. */
export interface Viewer extends Connection {
  readonly last: number
  readonly retryMs: number | null
}

export function createViewer ({ cursor, expected, onFrame, ...options }: ViewerOptions): Viewer {
  const reading = createReading(expected, cursor, onFrame)
  const headers: Record<string, string> = cursor < 0 ? {} : { 'last-event-id': String(cursor) }
  const connection = createConnection({ ...options, headers, take: reading.take })
  return {
    get last () { return reading.last },
    get retryMs () { return reading.retryMs },
    close: connection.close
  }
}
