import { createParser } from 'eventsource-parser'
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { finished } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'

export interface FollowOptions {
  /** Of the route, below the app's address. */
  path: string
  user: string
  /** Where it begins; by default it has nothing yet. */
  cursor?: string | null
  /** An app's address, without a slash at the end; asked before each connection. */
  url: () => string
  /** An event with an id, which is the cursor from now on. */
  onEvent (id: string, data: string): void
  /** An event without an id. */
  onAside? (data: string): void
  /** A connection stands; destroying or pausing it is what a client that is cut or slow does. */
  onOpen? (response: IncomingMessage): void
  /** Whether a 204 is the last word; by default it is. */
  isOver? (): boolean
  /** The mean wait before a connection is tried again. */
  retryMs?: number
  /** Gives up: `follow` then resolves at once. */
  signal: AbortSignal
}

/**
 * Reads a stream as a careful client does: it reconnects with its cursor as often as it has to, until it is told (204)
 * that nothing more will come. A turned-away, cut or failed connection is tried again; an answer that trying again does
 * not mend rejects.
 */
export async function follow (options: FollowOptions): Promise<void> {
  const { path, user, url, isOver = () => true, retryMs = 20, signal } = options
  let { cursor = null } = options

  async function read (response: IncomingMessage): Promise<void> {
    const parser = createParser({
      onEvent ({ id, data }) {
        if (id === undefined) return options.onAside?.(data)
        cursor = id
        options.onEvent(id, data)
      }
    })
    response.setEncoding('utf8').on('data', (chunk: string) => { if (!response.destroyed) parser.feed(chunk) })
    options.onOpen?.(response)
    await finished(response)
  }

  while (!signal.aborted) {
    const headers = { 'x-user': user, ...cursor !== null && { 'last-event-id': cursor } }
    try {
      const request = http.get(`${url()}${path}`, { agent: false, headers, signal })
      const [response] = await once(request, 'response') as [IncomingMessage]
      request.on('error', ignore) // the response tells
      if (response.statusCode === 200) await read(response)
      else response.resume()
      if (response.statusCode === 204 && isOver()) return
      if ([400, 401, 404].includes(response.statusCode ?? 0)) throw new RefusedError(`the app answered ${response.statusCode}`)
    } catch (error) {
      if (error instanceof RefusedError) throw error
    }
    await delay(retryMs * (0.5 + Math.random()))
  }
}

class RefusedError extends Error {}

function ignore (): void {}
