import { Readable } from 'node:stream'
import type { FastifyReply } from 'fastify'
import { ClosedError } from './errors.js'
import type { Feeds } from './feeds.js'
import { createPulse, type Pulse } from './pulse.js'
import { encodeOpening, encodeRetry, jittered, KEEPALIVE } from './sse.js'
import { createTail, type Place, type Sink, type Tail } from './tail.js'

export interface ViewersOptions {
  keepaliveMs: number
  /** The mean of the wait that clients are told to keep before they reconnect, in ms. */
  retryMs: number
  /** How long a blocked socket may stay without progress, in ms. */
  stallTimeoutMs: number
}

/** The open SSE responses of this process. */
export interface Viewers {
  readonly size: number
  /**
   * Answers `reply` with the log's rows past `place.start` and what follows, until its end. Headers that hooks have set
   * are kept. `onClose` is called once, when the response is over. Throws ClosedError during shutdown.
   */
  open<Position> (reply: FastifyReply, feeds: Feeds<Position>, key: string, place: Place<Position>, onClose?: () => void): FastifyReply
  /** Ends every response with a jittered `retry:`; the clients reconnect elsewhere with their cursors. */
  close (): void
}

export function createViewers (options: ViewersOptions): Viewers {
  const pulse = createPulse(options.keepaliveMs)
  const viewers = new Set<Viewer>()
  let closed = false

  return {
    get size () { return viewers.size },
    open (reply, feeds, key, place, onClose) {
      if (closed) throw new ClosedError()
      const { raw } = reply
      const viewer = createViewer(feeds, key, place, options.retryMs, pulse, () => raw.writableNeedDrain, () => {
        viewers.delete(viewer)
        onClose?.()
      })
      viewers.add(viewer)
      // A connection that is kept alive would keep the server from closing.
      raw.once('finish', () => { if (closed) raw.socket?.end() })
      // Node's own timer: it counts each part of a large write that the socket takes as progress.
      raw.setTimeout(options.stallTimeoutMs, () => { if (raw.writableNeedDrain) raw.destroy() })
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
function createViewer<Position> (feeds: Feeds<Position>, key: string, place: Place<Position>, retryMs: number, pulse: Pulse, isBlocked: () => boolean, onClose: () => void): Viewer {
  const { feed, log, ready } = feeds.open(key)
  let subscribed = false
  let full = false // after the end too: nothing more is wanted

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
      full = true
      body.push(null)
    }
  }
  const tail: Tail<Position> = createTail(feed, place, sink, log.compare)
  const member = {
    beat () { if (!full && !isBlocked()) sink.write(KEEPALIVE) }
  }

  body.push(encodeOpening(jittered(retryMs)))
  pulse.add(member)
  ready.then(() => {
    subscribed = true
    tail.resume()
  })
  return {
    body,
    leave (retryMs) {
      if (full) return body.destroy() // it is not reading: its cursor brings it back
      tail.close()
      sink.write(Buffer.from(encodeRetry(jittered(retryMs))))
      sink.end()
    }
  }
}
