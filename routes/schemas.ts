import { Type } from '@sinclair/typebox'
import { UUID_PATTERN } from '../plugin/wire/names.js'

/** Any value is valid, because a malformed cursor counts as no cursor and must reach the handler. */
const Cursor = Type.Optional(Type.Unsafe<unknown>(Type.Unknown({
  description: 'The sequence number of the last event received. Digits only; anything else counts as no cursor.',
  examples: ['41']
})))

/** The id in the path of a message's routes. */
export const MessageParams = Type.Object({
  messageId: Type.String({ pattern: UUID_PATTERN, description: 'The message\'s UUID' })
})

/** The cursor of clients that cannot set a header. */
export const CursorQuery = Type.Object({ last_event_id: Cursor })

/** The cursor as an EventSource sends it. */
export const CursorHeaders = Type.Object({ 'last-event-id': Cursor })

/** The body of an error, as Fastify writes it. */
export const ErrorResponse = Type.Object({
  statusCode: Type.Integer(),
  code: Type.Optional(Type.String()),
  error: Type.String(),
  message: Type.String()
})

/** The body of a stream, for documentation; it is never serialised. */
export const EventStream = Type.String(
  { description: 'Server-Sent Events: `data: <payload>`, then `id: <sequence number>`' })
