import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Access } from './access.js'
import { parseCursor } from './cursor.js'
import { InvalidMessageIdError } from '../plugin/errors.js'
import type { Feeds } from '../plugin/read/feeds.js'
import type { MessageState } from '../plugin/postgres/rows.js'
import { canonicalMessageId } from '../plugin/wire/names.js'
import { START } from '../plugin/messages/message-log.js'
import type { TerminalTypes } from '../plugin/wire/terminal-types.js'
import { takeOver } from '../plugin/read/viewers.js'
import { CursorHeaders, CursorQuery, ErrorResponse, EventStream, MessageParams } from './schemas.js'
import type { ServeStream } from './serve-stream.js'

/** What the reconnect route needs. */
export interface MessageEventsOptions {
  access: Access
  serve: ServeStream
  messages: Feeds<number>
  terminalTypes: TerminalTypes
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
export const messageEvents: FastifyPluginAsyncTypebox<MessageEventsOptions> =
  async (app, { access, serve, messages, terminalTypes }) => {
  // attachValidation: the caller is identified first (401), then the id is checked (400)
    app.get('/messages/:messageId/events', {
      schema, attachValidation: true, exposeHeadRoute: false, onSend: takeOver
    }, async (request, reply) => await serve(reply, async () => {
      const userId = await access.identify(request)
      const messageId = canonicalMessageId(request.params.messageId)
      if (messageId === null) throw new InvalidMessageIdError(JSON.stringify(request.params.messageId))
      const message = await access.findMessage(request, userId, messageId, 'read')
      const start = tailStart(
        parseCursor(request.headers['last-event-id'], request.query.last_event_id), message, terminalTypes)
      const finished = message.status !== 'streaming'
      if (start !== null) return { userId, feeds: messages, key: messageId, place: () => ({ start, finished }) }
      reply.code(204).send()
      return null
    }))
  }

/** Where the replay begins; `null`: the message has ended, and the reader has everything. */
function tailStart (cursor: number | null, message: MessageState, terminalTypes: TerminalTypes): number | null {
  const newest = message.last?.sequenceNo ?? START
  if (cursor === null) return START
  if (cursor < newest) return cursor
  if (cursor > newest && message.status !== 'streaming') return null
  // An event between the newest one and `lastNo` was lost in a failover, and this reader has had it
  if (cursor > newest) return cursor <= Number(message.lastNo) ? cursor : START
  return hasEnded(message, terminalTypes) ? null : newest
}

/** Whether the message has ended. A status without a terminal event will still get one, so the reader waits. */
function hasEnded ({ status, isLeased, endedNo, last }: MessageState, terminalTypes: TerminalTypes): boolean {
  if (endedNo !== null) return true
  return (status !== 'streaming' || !isLeased) && last !== null && terminalTypes(last) !== null
}
