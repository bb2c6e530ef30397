import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Access } from '../plugin/access.js'
import { parseCursor } from '../plugin/cursor.js'
import { InvalidMessageIdError, TooManyConnectionsError } from '../plugin/errors.js'
import type { Feeds } from '../plugin/feeds.js'
import type { JournalRow, MessageState } from '../plugin/journal.js'
import { canonicalMessageId } from '../plugin/keys.js'
import { START } from '../plugin/message-log.js'
import type { JournalOptions } from '../plugin/options.js'
import { turnAway } from '../plugin/overload.js'
import type { Slots } from '../plugin/slots.js'
import type { Viewers } from '../plugin/viewers.js'
import { CursorHeaders, CursorQuery, ErrorResponse, EventStream, MessageParams } from './schemas.js'

export interface MessageEventsOptions {
  access: Access
  viewers: Viewers
  messages: Feeds<number>
  /** `null`: users may have any number of streams open. */
  slots: Slots | null
  overload: JournalOptions['overload']
  maxConnectionsPerUser: number
  isTerminal: (row: JournalRow) => boolean
}

const schema = {
  summary: 'A message\'s events past the cursor, then what follows, until its end',
  params: MessageParams,
  querystring: CursorQuery,
  headers: CursorHeaders,
  response: {
    200: { description: 'The events', content: { 'text/event-stream': { schema: EventStream } } },
    204: { description: 'The message is finished and the cursor has its last event', type: 'null' },
    400: ErrorResponse,
    401: ErrorResponse,
    404: ErrorResponse,
    429: ErrorResponse,
    503: ErrorResponse
  }
} as const

/** The reconnect route. */
export const messageEvents: FastifyPluginAsyncTypebox<MessageEventsOptions> = async (app, options) => {
  const { access, viewers, messages, slots, overload, maxConnectionsPerUser, isTerminal } = options

  /** Resolves with what gives the user's slot back. */
  async function takeSlot (userId: string | null): Promise<() => void> {
    if (slots === null || userId === null) return () => {}
    if (!await slots.acquire(userId)) throw new TooManyConnectionsError(maxConnectionsPerUser)
    return () => { slots.release(userId) }
  }

  // attachValidation: who is asking is settled first (401), then whether the id is one (400).
  app.get('/messages/:messageId/events', { schema, attachValidation: true, exposeHeadRoute: false }, async (request, reply) => {
    try {
      const userId = await access.identify(request)
      const messageId = canonicalMessageId(request.params.messageId)
      if (messageId === null) throw new InvalidMessageIdError(JSON.stringify(request.params.messageId))
      const message = await access.findMessage(request, userId, messageId, 'read')
      const cursor = placeOf(parseCursor(request.headers['last-event-id'], request.query.last_event_id), message, isTerminal)
      if (cursor === null) return await reply.code(204).send()
      const giveBack = await takeSlot(userId)
      if (!reply.raw.destroyed) return viewers.open(reply, messages, messageId, { start: cursor }, giveBack)
      giveBack() // the client has left meanwhile
      return await reply.hijack()
    } catch (error) {
      return turnAway(reply, error, overload)
    }
  })
}

/**
 * Where the replay begins; `null`: the message is finished and the reader has all of it. One that is finished without
 * a terminal event still has that to come: the reader waits for whoever compares it with the journal to write it.
 */
function placeOf (cursor: number | null, { status, last }: MessageState, isTerminal: (row: JournalRow) => boolean): number | null {
  const newest = last?.sequenceNo ?? START
  if (cursor === null) return START
  if (cursor < newest) return cursor
  if (status === 'streaming') return cursor > newest ? START : cursor
  return last === null || isTerminal(last) ? null : newest
}
