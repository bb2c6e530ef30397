import { Type } from '@sinclair/typebox'
import { UUID_PATTERN } from '../plugin/wire/names.js'

/** Any value passes: a malformed cursor counts as no cursor, so it must reach the handler. */
const Cursor = Type.Optional(Type.Unsafe<unknown>(Type.Unknown({
  description: 'The sequence number of the last event received. Digits only; anything else counts as no cursor.',
  examples: ['41']
})))

export const MessageParams = Type.Object({
  messageId: Type.String({ pattern: UUID_PATTERN, description: 'The message\'s UUID' })
})

export const CursorQuery = Type.Object({ last_event_id: Cursor })

export const CursorHeaders = Type.Object({ 'last-event-id': Cursor })

export const ErrorResponse = Type.Object({
  statusCode: Type.Integer(),
  code: Type.Optional(Type.String()),
  error: Type.String(),
  message: Type.String()
})

export const EventStream = Type.String(
  { description: 'Server-Sent Events: `data: <payload>`, then `id: <sequence number>`' })
