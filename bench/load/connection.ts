import { connect } from 'node:net'
import { createBody, type Body } from './body.js'

export interface ConnectionOptions {
  port: number
  path: string
  /** By lower-case name. */
  headers: Record<string, string>
  /** Where the body goes when the status is 200; throws when it is not what it must be. */
  take: (buffer: Buffer, from: number, to: number) => void
  /** The request is on its way. */
  onRequest?: (() => void) | undefined
  /** The head of the response has arrived. */
  onHead?: ((status: number) => void) | undefined
  /** The response is over, or the connection has failed, or something wrong has arrived: then with the reason. */
  onEnd: (error: Error | null) => void
}

/** One SSE response: a socket and two small state machines, since there may be ten thousand of them on half a core. */
export interface Connection {
  /** Cuts it; `onEnd` is not called. */
  close (): void
}

/** One for all sockets: what is in it is taken before the next one is read. */
const shared = Buffer.alloc(64 * 1024)
const HEAD_END = '\r\n\r\n'

export function createConnection ({ port, path, headers, take, onRequest, onHead, onEnd }: ConnectionOptions): Connection {
  let head = ''
  let body: Body | null = null
  let over = false

  /** Answers with where the body begins. */
  function takeHead (length: number): number {
    const before = head.length
    head += shared.toString('latin1', 0, length)
    const at = head.indexOf(HEAD_END)
    if (at < 0) return length
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1])
    body = createBody(/^transfer-encoding: *chunked/im.test(head), status === 200 ? take : () => {})
    onHead?.(status)
    return at + HEAD_END.length - before
  }

  function read (length: number): void {
    try {
      const from = body === null ? takeHead(length) : 0
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
        if (!over) read(length)
        return true
      }
    }
  })
  socket.on('connect', () => {
    const lines = Object.entries({ host: `127.0.0.1:${port}`, accept: 'text/event-stream', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`)
    onRequest?.()
  })
  socket.on('error', (error) => { end(error) })
  socket.on('close', () => { end(body === null ? new Error('the connection was closed before it was answered') : null) })

  return {
    close () {
      over = true
      socket.destroy()
    }
  }
}
