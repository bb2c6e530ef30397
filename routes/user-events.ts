import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Access } from './access.js'
import { parseStreamCursor } from './cursor.js'
import { UnauthenticatedError } from '../plugin/errors.js'
import { encodeOpening, PUSH_DISABLED } from '../plugin/wire/sse.js'
import type { Notifications } from '../plugin/notifications/notifications.js'
import { takeOver } from '../plugin/read/viewers.js'
import { CursorHeaders, CursorQuery, ErrorResponse, EventStream } from './schemas.js'
import type { ServeStream } from './serve-stream.js'

/** What the route of the notifications needs. */
export interface UserEventsOptions {
  access: Access
  serve: ServeStream
  users: Notifications
  notifications: boolean
}

const schema = {
  summary: 'The user\'s notifications: the backlog past the cursor, if there is one, then what comes',
  querystring: CursorQuery,
  headers: CursorHeaders,
  response: {
    200: { description: 'The notifications', content: { 'text/event-stream': { schema: EventStream } } },
    401: ErrorResponse,
    429: ErrorResponse,
    503: ErrorResponse
  }
} as const

/** The whole stream while notifications are off. */
const PUSH_DISABLED_RETRY_MS = 300_000

/** The route of the notifications. */
export const userEvents: FastifyPluginAsyncTypebox<UserEventsOptions> =
  async (app, { access, serve, users, notifications }) => {
    app.get('/events', { schema, exposeHeadRoute: false, onSend: takeOver }, async (request, reply) =>
      await serve(reply, async () => {
        const userId = await access.identify(request)
        if (userId === null) {
          throw new UnauthenticatedError()
        } // everybody's messages can be read, but nobody's are notifications
        if (!notifications) {
          reply
            .header('content-type', 'text/event-stream')
            .header('cache-control', 'no-store, no-transform')
            .send(`${encodeOpening(PUSH_DISABLED_RETRY_MS)}${PUSH_DISABLED}`)
          return null
        }
        const cursor = parseStreamCursor(request.headers['last-event-id'], request.query.last_event_id)
        const place = async () => await users.tailStart(userId, cursor)
        return { userId, feeds: users.feeds, key: userId, place }
      }))
  }
