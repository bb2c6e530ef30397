import { connect } from 'node:net'
import { createBody, type Body } from './body.js'
import type { Expected } from './expected.js'
import { createReading } from './reading.js'

export interface ViewerOptions {
  port: number
  path: string
  /** The last frame that it has already; -1: none, and no cursor is sent. */
  cursor: number
  expected: Expected
  /** The request is on its way. */
  onRequest?: () => void
  /** The head of the response has arrived. The body of any status but 200 is not looked at. */
  onHead?: (status: number) => void
  /** The frame has arrived, whole and as it must be. */
  onFrame: (n: number) => void
  /** The response is over, or the connection has failed, or something wrong has arrived: then with the reason. */
  onEnd: (error: Error | null) => void
}

/** One SSE connection. It is a socket and three small state machines, since there may be ten thousand of them on half a core. */
export interface Viewer {
  readonly last: number
  readonly retryMs: number | null
  /** Cuts the connection; `onEnd` is not called. */
  close (): void
}

/** One for all sockets: what is in it is taken before the next one is read. */
const shared = Buffer.alloc(64 * 1024)
const HEAD_END = '\r\n\r\n'

export function createViewer ({ port, path, cursor, expected, onRequest, onHead, onFrame, onEnd }: ViewerOptions): Viewer {
  const reading = createReading(expected, cursor, onFrame)
  let head = ''
  let body: Body | null = null
  let over = false

  function takeHead (buffer: Buffer, length: number): number {
    const before = head.length
    head += buffer.toString('latin1', 0, length)
    const at = head.indexOf(HEAD_END)
    if (at < 0) return length
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1])
    body = createBody(/^transfer-encoding: *chunked/im.test(head), status === 200 ? reading.take : () => {})
    onHead?.(status)
    return at + HEAD_END.length - before
  }

  function take (length: number): void {
    try {
      const from = body === null ? takeHead(shared, length) : 0
      if (body?.take(shared, from, length) === true) end(null)
    } catch (error) {
      end(error as Error) // they are all our own
    }
  }

  function end (error: Error | null): void {
    if (over) return
    over = true
    socket.destroy()
    onEnd(error)
  }

  const socket = connect({
    host: '127.0.0.1',
    port,
    noDelay: true,
    onread: {
      buffer: shared,
      callback (length) {
        if (!over) take(length)
        return true
      }
    }
  })
  socket.on('connect', () => {
    const last = cursor < 0 ? '' : `Last-Event-ID: ${cursor}\r\n`
    socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAccept: text/event-stream\r\n${last}\r\n`)
    onRequest?.()
  })
  socket.on('error', (error) => { end(error) })
  socket.on('close', () => { end(body === null ? new Error('the connection was closed before it was answered') : null) })

  return {
    get last () { return reading.last },
    get retryMs () { return reading.retryMs },
    close () {
      over = true
      socket.destroy()
    }
  }
}
