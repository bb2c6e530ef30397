import { setMaxListeners } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'

/** The stream of a response over HTTP/2, which is not a Writable itself. */
export function http2StreamOf (response: ServerResponse): ServerHttp2Stream | undefined {
  return (response as { stream?: ServerHttp2Stream }).stream // Fastify's types know HTTP/1 only
}

/** Whether the response's client is gone. */
export function isClosed (response: ServerResponse): boolean {
  const stream = http2StreamOf(response)
  return stream === undefined ? response.destroyed || response.req.socket.destroyed : stream.destroyed
}

/**
 * Calls back once, when the response is over or its client is gone. A response that waits behind another on a pipelined
 * connection gets no event when that connection ends, so the connection is watched, too.
 */
export function onClose (response: ServerResponse, callback: () => void): void {
  if (response.socket !== null) {
    response.on('close', callback) // which comes once
    return
  }
  const { socket } = response.req
  const gone = (): void => {
    response.off('close', gone)
    socket.off('close', gone)
    callback()
  }
  response.on('close', gone)
  setMaxListeners(0, socket) // there may be any number of them
  socket.on('close', gone)
}
