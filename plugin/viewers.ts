import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import { ClosedError } from './errors.js'
import type { Feeds } from './feeds.js'
import { createPulse, type Pulse } from './pulse.js'
import { encodeOpening, encodeRetry, KEEPALIVE } from './sse.js'
import { createTail, type Sink, type Tail } from './tail.js'

export interface ViewersOptions {
  keepaliveMs: number
  /** The mean of the wait that clients are told to keep before they reconnect, in ms. */
  retryMs: number
}

/** The open SSE responses of this process. */
export interface Viewers {
  readonly size: number
  /**
   * Answers `reply` with the log's rows past `cursor` and what follows, until its end. Headers that hooks have set
   * are kept. Throws ClosedError during shutdown.
   */
  open<Position> (reply: FastifyReply, feeds: Feeds<Position>, key: string, cursor: Position): FastifyReply
  /** Ends every response with a jittered `retry:`; the clients reconnect elsewhere with their cursors. */
  close (): void
}

export function createViewers (options: ViewersOptions): Viewers {
  const pulse = createPulse(options.keepaliveMs)
  const viewers = new Set<Viewer>()
  let closed = false

  return {
    get size () { return viewers.size },
    open (reply, feeds, key, cursor) {
      if (closed) throw new ClosedError()
      const viewer = createViewer(feeds, key, cursor, options.retryMs, pulse, () => { viewers.delete(viewer) })
      viewers.add(viewer)
      return reply
        .header('content-type', 'text/event-stream')
        .header('cache-control', 'no-store, no-transform')
        .header('x-accel-buffering', 'no')
        .send(viewer.body)
    },
    close () {
      closed = true
      for (const viewer of viewers) viewer.leave(options.retryMs)
    }
  }
}

interface Viewer {
  body: Readable
  leave (retryMs: number): void
}

/**
 * One socket, one cursor, a bounded buffer: the tail stops as soon as the response has enough, and reads the journal
 * when it drains.
 */
function createViewer<Position> (feeds: Feeds<Position>, key: string, cursor: Position, retryMs: number, pulse: Pulse, onClose: () => void): Viewer {
  const { feed, log, ready } = feeds.open(key)
  let subscribed = false
  let full = false
  let ended = false

  const body = new Readable({
    read () {
      full = false
      if (subscribed) tail.resume()
    },
    destroy (error, callback) {
      tail.close()
      pulse.remove(member)
      feeds.release(key)
      onClose()
      callback(error)
    }
  })
  const sink: Sink = {
    write (chunk) {
      full = !body.push(chunk)
      return !full
    },
    end () {
      ended = true
      body.push(null)
    }
  }
  const tail: Tail<Position> = createTail(feed, cursor, sink, log.compare)
  const member = {
    beat () { if (!full && !ended) sink.write(KEEPALIVE) }
  }

  body.push(encodeOpening(retryMs))
  pulse.add(member)
  ready.then(() => {
    subscribed = true
    tail.resume()
  })
  return {
    body,
    leave (retryMs) {
      if (full) body.destroy()
      if (full || ended) return
      tail.close()
      sink.write(Buffer.from(encodeRetry(retryMs)))
      sink.end()
    }
  }
}
