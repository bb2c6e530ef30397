import type { FastifyReply } from 'fastify'
import { isClosed, onClose } from '../plugin/read/client-gone.js'
import type { Feeds } from '../plugin/read/feeds.js'
import type { JournalOptions } from '../plugin/options.js'
import { refuseForNow } from './overload.js'
import type { Slots } from './connection-limit.js'
import type { TailStart } from '../plugin/read/tail.js'
import type { Viewers } from '../plugin/read/viewers.js'

/** What a request wants to read. */
export interface Target<Position> {
  /** Whose connection slot it takes; `null`: nobody's. */
  userId: string | null
  feeds: Feeds<Position>
  key: string
  /** Called when the reader has a slot. */
  place: () => TailStart<Position> | Promise<TailStart<Position>>
}

/**
 * Answers with a stream, for both routes alike: takes a connection slot, notices a client that is gone, and refuses a
 * reader who must try again later. `find` resolves with `null` when it has answered itself.
 */
export type ServeStream = <Position>(
  reply: FastifyReply, find: () => Promise<Target<Position> | null>
) => Promise<FastifyReply>

/** Serves streams through `viewers`, within the users' slots. */
export function createServeStream (viewers: Viewers, slots: Slots, overload: JournalOptions['overload']): ServeStream {
  async function open<Position> (
    reply: FastifyReply, { userId, feeds, key, place }: Target<Position>
  ): Promise<FastifyReply> {
    const giveBack = await slots.take(userId)
    if (isClosed(reply.raw)) {
      giveBack()
      return reply.hijack() // the client has left meanwhile
    }
    onClose(reply.raw, giveBack)
    return viewers.open(reply, feeds, key, await place())
  }

  return async (reply, find) => {
    try {
      const target = await find()
      return target === null ? reply : await open(reply, target)
    } catch (error) {
      return refuseForNow(reply, error, overload)
    }
  }
}
