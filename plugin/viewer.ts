import type { ServerResponse } from 'node:http'
import type { Feed } from './feed.js'
import type { Feeds } from './feeds.js'
import { ignore } from './lend.js'
import type { Beating, Pulse } from './pulse.js'
import { encodeOpening, encodeRetry, jittered, KEEPALIVE } from './sse.js'
import { Tail, type Place, type Sink } from './tail.js'

/** A response that is open, whatever it is about. */
export interface OpenResponse extends Beating {
  /** Ends it with a `retry:`: the client comes back, to another process, with its cursor. */
  leave (): void
}

/** What all viewers share. */
export interface ViewerContext {
  pulse: Pulse<OpenResponse>
  retryMs: number
  stallTimeoutMs: number
  /** The process is shutting down. */
  closed: boolean
}

/**
 * One socket, one cursor, a bounded buffer: the tail stops as soon as the response has enough, and goes on when it drains.
 *
 * To Fastify it is a stream, of which it uses `pipe`. It has no buffer of its own, and begins when it gets its response:
 * one that never gets there, since a hook has failed, leaves nothing behind.
 */
export class Viewer<Position> implements Sink, OpenResponse {
  slot: Set<Beating> | undefined
  readonly #context: ViewerContext
  readonly #feeds: Feeds<Position>
  #response: ServerResponse | null = null
  #feed: Feed<Position> | null = null
  #tail: Tail<Position> | null = null
  #state: 'open' | 'full' | 'ended' = 'open'
  #watched = false
  #begin: { key: string, place: Place<Position> } | null

  constructor (context: ViewerContext, feeds: Feeds<Position>, key: string, place: Place<Position>) {
    this.#context = context
    this.#feeds = feeds
    this.#begin = { key, place }
  }

  /** Begins. The response's head goes out with the first bytes, which are written here. */
  pipe (response: ServerResponse): void {
    if (this.#begin === null || response.destroyed) return
    const { key, place } = this.#begin
    this.#begin = null
    this.#response = response
    response.on('error', ignore) // a write to a socket that has just gone
    response.on('close', () => { this.#over() })
    response.write(encodeOpening(jittered(this.#context.retryMs)))
    this.#context.pulse.add(this)
    const feed = this.#feed = this.#feeds.open(key)
    const tail = this.#tail = new Tail(feed, place, this)
    if (this.#context.closed) this.leave()
    else if (place.finished === true) tail.resume()
    else feed.subscribe(() => { tail.resume() })
  }

  write (frames: readonly Buffer[]): boolean {
    if (this.#response !== null && writeAll(this.#response, frames)) return true
    this.#state = 'full'
    this.#watch()
    return false
  }

  end (): void {
    this.#state = 'ended'
    this.#response?.end()
    if (this.#context.closed) this.#closeConnection()
  }

  beat (): void {
    if (this.#state === 'open' && this.#response?.writableNeedDrain === false) this.#response.write(KEEPALIVE)
  }

  leave (): void {
    if (this.#state === 'open') {
      this.#tail?.close()
      this.#response?.write(encodeRetry(jittered(this.#context.retryMs)))
      this.end()
    } else {
      this.#response?.destroy() // it is not reading: its cursor brings it back
    }
  }

  #over (): void {
    this.#tail?.close()
    this.#context.pulse.remove(this)
    if (this.#feed !== null) this.#feeds.release(this.#feed)
  }

  /** Node's own timer: it counts each part of a large write that the socket takes as progress. */
  #watch (): void {
    const response = this.#response
    response?.setTimeout(this.#context.stallTimeoutMs)
    if (this.#watched) return
    this.#watched = true
    response?.on('drain', () => { this.#drained() })
    response?.on('timeout', () => { response.destroy() })
  }

  #drained (): void {
    /* c8 ignore next -- a response that has been ended tells of no drain over HTTP/1; nothing says that it never will */
    if (this.#state !== 'full') return
    this.#state = 'open'
    this.#response?.setTimeout(0)
    this.#tail?.resume()
  }

  /** One that is kept alive would keep the server from closing; with HTTP/2 it is the session that is closed. */
  #closeConnection (): void {
    const response = this.#response
    if (response?.req.httpVersionMajor === 1) response.once('finish', () => { response.socket?.end() })
  }

  // What Fastify's `eos` asks of a stream. All that it would be told, the response tells.
  on (): this { return this }
  once (): this { return this }
  off (): this { return this }
  removeListener (): this { return this }
  destroy (): void {}
}

/**
 * `false`: a `drain` will come. The response is not corked for this: it would then count all of them, and the socket,
 * which is what drains, each by itself. (Node corks the socket until the end of the turn.)
 */
function writeAll (response: ServerResponse, frames: readonly Buffer[]): boolean {
  let hasRoom = true
  for (const chunk of frames) hasRoom = response.write(chunk) && hasRoom
  return hasRoom
}
