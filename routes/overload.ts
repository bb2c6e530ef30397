import type { FastifyReply } from 'fastify'
import {
  ClosedError, DatabaseUnavailableError, RedisUnavailableError, ReplayBudgetError, TooManyConnectionsError
} from '../plugin/errors.js'
import type { JournalOptions } from '../plugin/options.js'
import { encodeFrame, encodeOpening } from '../plugin/wire/sse.js'

/** Errors after which a reader may try again. */
const RETRYABLE =
  [ClosedError, DatabaseUnavailableError, RedisUnavailableError, TooManyConnectionsError, ReplayBudgetError]
const MEAN_RETRY_SECONDS = 4

/**
 * Answers a reader who must try again later: with the error's status and a jittered `Retry-After`; or, with `overload:
 * 'in-band'`, with 200, an `event: busy` without id, and a jittered `retry:`, because an EventSource stops reconnecting
 * for good after any other status. Throws errors that trying again does not mend.
 */
export function refuseForNow (reply: FastifyReply, error: unknown, overload: JournalOptions['overload']): FastifyReply {
  const passing = RETRYABLE.find((kind) => error instanceof kind)
  if (passing === undefined || !(error instanceof Error)) throw error
  const waitSeconds = error instanceof ReplayBudgetError ? error.retryAfterSeconds : 0
  const seconds = waitSeconds + Math.ceil(MEAN_RETRY_SECONDS * (0.5 + Math.random()))
  // A connection that is kept alive would keep the server from closing
  if (error instanceof ClosedError && reply.request.raw.httpVersionMajor === 1) reply.header('connection', 'close')
  if (overload === 'status') {
    reply.header('retry-after', seconds)
    throw error
  }
  const data = JSON.stringify({ type: 'busy', error: error.message })
  return reply
    .header('content-type', 'text/event-stream')
    .header('cache-control', 'no-store, no-transform')
    .send(encodeOpening(seconds * 1_000) + encodeFrame({ event: 'busy', data }))
}
