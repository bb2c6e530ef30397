import type { FastifyReply, onSendHookHandler } from 'fastify'
import type { ServerResponse } from 'node:http'
import { ClosedError } from '../errors.js'
import type { Feeds } from './feeds.js'
import { createKeepaliveTimer } from './keepalive.js'
import type { TailStart } from './tail.js'
import { Viewer, type OpenResponse, type ViewerContext } from './viewer.js'

/** Intervals of open responses, in ms. */
export interface ViewersOptions {
  keepaliveMs: number
  /** The mean of the wait that clients are told to keep before they reconnect, in ms. */
  retryMs: number
  /** How long a blocked socket may make no progress, in ms. */
  stallTimeoutMs: number
}

/** The open SSE responses of this process. */
export interface Viewers {
  readonly size: number
  /**
   * Answers `reply` with the log's rows past `place.start` and what follows, until its end. Headers that hooks have set
   * are kept. Throws ClosedError during shutdown.
   */
  open<Position> (reply: FastifyReply, feeds: Feeds<Position>, key: string, place: TailStart<Position>): FastifyReply
  /**
   * Ends every response with a jittered `retry:`; the clients reconnect elsewhere with their cursors. A blocked
   * response is cut.
   */
  close (): void
}

/** Opens viewers, and closes all of them. */
export function createViewers (options: ViewersOptions): Viewers {
  const { retryMs, stallTimeoutMs } = options
  const keepalives = createKeepaliveTimer<OpenResponse>(options.keepaliveMs)
  const context: ViewerContext = { keepalives, retryMs, stallTimeoutMs, closed: false }

  return {
    get size () { return keepalives.size },
    open (reply, feeds, key, place) {
      if (context.closed) throw new ClosedError()
      return reply
        .header('content-type', 'text/event-stream')
        .header('cache-control', 'no-store, no-transform')
        .header('x-accel-buffering', 'no')
        .send(new Viewer(context, reply.raw, feeds, key, place))
    },
    close () {
      context.closed = true
      for (const viewer of keepalives.members()) viewer.leave()
    }
  }
}

/**
 * The last `onSend` hook of a route. It takes the response over from Fastify, which keeps five kilobytes for each
 * stream that it sends itself.
 */
export const takeOver: onSendHookHandler = (request, reply, payload, next) => {
  if (!(payload instanceof Viewer)) return next(null, payload)
  try {
    reply.raw.writeHead(
      reply.statusCode, reply.getHeaders() as Parameters<ServerResponse['writeHead']>[1]) // what Fastify would pass too
  } catch (error) {
    return next(error as Error) // a hook has set a header that is none
  }
  reply.hijack()
  payload.pipe(reply.raw)
}
