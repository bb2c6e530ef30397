import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox'
import type { Access } from '../plugin/access.js'
import { parseCursor } from '../plugin/cursor.js'
import { InvalidMessageIdError } from '../plugin/errors.js'
import type { Feeds } from '../plugin/feeds.js'
import type { MessageState } from '../plugin/journal.js'
import { canonicalMessageId } from '../plugin/keys.js'
import { START } from '../plugin/message-log.js'
import type { Viewers } from '../plugin/viewers.js'
import { CursorHeaders, CursorQuery, ErrorResponse, EventStream, MessageParams } from './schemas.js'

export interface MessageEventsOptions {
  access: Access
  viewers: Viewers
  messages: Feeds<number>
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
    503: ErrorResponse
  }
} as const

/** The reconnect route. */
export const messageEvents: FastifyPluginCallbackTypebox<MessageEventsOptions> = (app, { access, viewers, messages }, done) => {
  // attachValidation: who is asking is settled first (401), then whether the id is one (400).
  app.get('/messages/:messageId/events', { schema, attachValidation: true, exposeHeadRoute: false }, async (request, reply) => {
    const userId = await access.identify(request)
    const messageId = canonicalMessageId(request.params.messageId)
    if (messageId === null) throw new InvalidMessageIdError(JSON.stringify(request.params.messageId))
    const message = await access.findMessage(request, userId, messageId)
    const cursor = placeOf(parseCursor(request.headers['last-event-id'], request.query.last_event_id), message)
    return cursor === null ? await reply.code(204).send() : viewers.open(reply, messages, messageId, cursor)
  })
  done()
}

/** Where the replay begins; `null`: the message is finished and the reader has all of it. */
function placeOf (cursor: number | null, { status, last }: MessageState): number | null {
  const newest = last?.sequenceNo ?? START
  if (status === 'streaming') return cursor === null || cursor > newest ? START : cursor
  return (cursor ?? START) >= newest ? null : cursor ?? START
}
