import type { ServerResponse } from 'node:http'
import type { Writable } from 'node:stream'
import { isClosed, http2StreamOf, onClose } from './client-gone.js'
import type { Feed } from './feed.js'
import type { Feeds } from './feeds.js'
import type { KeptAlive, KeepaliveTimer } from './keepalive.js'
import { encodeOpening, encodeRetry, jittered, KEEPALIVE } from '../wire/sse.js'
import { Tail, type TailStart, type Sink } from './tail.js'

/** An open response of any log. */
export interface OpenResponse extends KeptAlive {
  /**
   * Ends it with a `retry:`, or cuts it if it is blocked. The client comes back with its cursor, to another process.
   */
  leave (): void
}

/**
 * Into how many parts `stallTimeoutMs` is divided. A reader without progress is cut after it, and at most one part
 * more.
 */
const STALL_PARTS = 8

/** What all viewers share. */
export interface ViewerContext {
  keepalives: KeepaliveTimer<OpenResponse>
  retryMs: number
  stallTimeoutMs: number
  /** Whether the process is shutting down. */
  closed: boolean
}

/**
 * One socket, one cursor, a bounded buffer: the tail stops when the response has enough, and goes on when it drains.
 *
 * Fastify treats it as a stream, and calls its `pipe`. It has no buffer of its own, and begins when it gets its target,
 * so a viewer whose request fails in a hook leaves nothing behind. The target is the response, or what a hook of the
 * app puts before it.
 */
export class Viewer<Position> implements Sink, OpenResponse {
  bucket: Set<KeptAlive> | undefined
  readonly #context: ViewerContext
  readonly #feeds: Feeds<Position>
  readonly #response: ServerResponse
  #target: Writable | null = null
  #feed: Feed<Position> | null = null
  #tail: Tail<Position> | null = null
  #state: 'open' | 'full' | 'ended' = 'open'
  #stall: 'unwatched' | 'idle' | 'timed' = 'unwatched'
  /** How many parts of `stallTimeoutMs` have passed without progress, and when the last one ended. */
  #stalledParts = 0
  #timedOutAt = 0
  #begin: { key: string, place: TailStart<Position> } | null

  constructor (
    context: ViewerContext, response: ServerResponse, feeds: Feeds<Position>, key: string, place: TailStart<Position>
  ) {
    this.#context = context
    this.#response = response
    this.#feeds = feeds
    this.#begin = { key, place }
  }

  /** Begins. Writes the first bytes, with which the response's head goes out. */
  pipe<Target extends Writable> (target: Target): Target {
    const response = this.#response
    if (this.#begin === null || isClosed(response)) return target
    const { key, place } = this.#begin
    this.#begin = null
    this.#target = target
    response.on('error', ignore) // a write to a socket that has just gone
    if (response !== target as Writable) target.on('error', () => { response.destroy() })
    onClose(response, () => { this.#over() })
    target.write(encodeOpening(jittered(this.#context.retryMs)))
    this.#context.keepalives.add(this)
    const feed = this.#feed = this.#feeds.open(key)
    const tail = this.#tail = new Tail(feed, place, this)
    if (this.#context.closed) this.leave()
    else if (place.finished === true) tail.resume()
    else feed.subscribe(() => { tail.resume() })
    return target
  }

  write (frames: readonly Buffer[]): boolean {
    if (this.#target !== null && writeAll(this.#target, frames)) return true
    this.#state = 'full'
    this.#watch()
    return false
  }

  end (): void {
    this.#state = 'ended'
    this.#target?.end()
    if (this.#context.closed) this.#closeConnection()
  }

  keepalive (): void {
    if (this.#response.writableLength > 0) this.#watch() // since the last beat, perhaps
    else if (this.#state === 'open') this.#target?.write(KEEPALIVE)
  }

  leave (): void {
    if (this.#state === 'open') {
      this.#tail?.close()
      this.#target?.write(encodeRetry(jittered(this.#context.retryMs)))
      this.end()
    } else {
      this.#response.destroy() // it is not reading: its cursor brings it back
    }
  }

  #over (): void {
    this.#tail?.close()
    this.#context.keepalives.remove(this)
    if (this.#feed !== null) this.#feeds.release(this.#feed)
  }

  /**
   * Uses the socket's own timer, in parts. The timer takes the bytes that the kernel accepts at once for progress, so
   * with one part a reader would be cut after twice the time.
   */
  #watch (): void {
    const response = this.#response
    if (this.#stall === 'timed') return
    if (this.#stall === 'unwatched') {
      this.#target?.on('drain', () => { this.#drained() })
      response.on('timeout', () => { this.#timedOut() })
    }
    this.#stall = 'timed'
    this.#stalledParts = 0
    response.setTimeout(this.#partMs)
  }

  get #partMs (): number { return Math.ceil(this.#context.stallTimeoutMs / STALL_PARTS) }

  #timedOut (): void {
    const response = this.#response
    if (this.#state !== 'full' && response.writableLength === 0) return this.#rest()
    const now = performance.now()
    const isNext = now - this.#timedOutAt < 1.5 * this.#partMs
    this.#stalledParts = isNext ? this.#stalledParts + 1 : 1
    this.#timedOutAt = now
    if (this.#stalledParts >= STALL_PARTS) response.destroy()
    else response.setTimeout(this.#partMs)
  }

  #rest (): void {
    this.#stall = 'idle'
    this.#response.setTimeout(0)
  }

  #drained (): void {
    /* c8 ignore next -- over HTTP/1 a response that has been ended emits no `drain`; nothing says that it never will */
    if (this.#state !== 'full') return
    this.#state = 'open'
    this.#rest()
    this.#tail?.resume()
  }

  /** A connection that is kept alive would keep the server from closing. */
  #closeConnection (): void {
    const response = this.#response
    const { socket } = response // which Node takes from it when it has finished
    const stream = http2StreamOf(response)
    if (stream === undefined) response.once('finish', () => { socket?.end() })
    else stream.session?.close() // once its streams are over
  }

  // What Fastify and its hooks ask of a stream. Its events are not needed, because the response emits them
  on (): this { return this }
  once (): this { return this }
  off (): this { return this }
  removeListener (): this { return this }
  resume (): this { return this }
  destroy (): void {}
}

/**
 * Writes the frames. `false`: a `drain` will follow. The response is not corked, because then it would count all
 * frames, while the socket, which drains, counts each. (Node corks the socket until the end of the turn.)
 */
function writeAll (target: Writable, frames: readonly Buffer[]): boolean {
  let hasRoom = true
  for (const chunk of frames) hasRoom = target.write(chunk) && hasRoom
  return hasRoom
}

/** One listener for all viewers, of which there may be ten thousand. */
function ignore (): void {}
