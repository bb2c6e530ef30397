import { follow } from './follow.js'
import type { ConnectionOptions } from './options.js'
import type { Source } from './source.js'

/** What `publishUserEvent` published. */
export interface UserEvent<Payload = Record<string, unknown>> {
  type: string
  /** ISO 8601, in UTC. */
  ts: string
  user_id: string
  topic: string
  /** What it is about: `{ kind: 'message', id: … }`, for one. */
  scope: Record<string, unknown>
  payload: Payload
  /** The cursor after this event. */
  id: string
}

/** Options of `connectEvents`. */
export interface EventsOptions<Event extends object = UserEvent> extends ConnectionOptions {
  /** The route of the notifications. A relative address is relative to the page. */
  url: string
  /** The id of the last event received. Without it, only what comes from now on. */
  cursor?: string | null | undefined
  /**
   * Called with each event, once and in order, and with its id, from which a later call may go on. If it throws, the
   * call rejects with that error.
   */
  onEvent: (event: Event, id: string | null) => void
  /**
   * Called when events past the cursor are gone: the cursor was too old, or Redis has lost them. The argument is the id
   * of the oldest event that is kept; new events follow. A stored cursor should become `BEGINNING`.
   */
  onTruncated?: ((oldestRetainedId: string | null) => void) | undefined
}

/** A cursor before every event. */
export const BEGINNING = '0-0'

/** How the notifications end when nobody ends them. */
export interface PipeEnd {
  /** The server has notifications turned off. */
  status: 'disabled'
}

/**
 * Follows the user's events, over as many connections as it takes, until the signal aborts. Resolves only when the
 * server has notifications turned off.
 */
export async function connectEvents<Event extends object = UserEvent> (
  options: EventsOptions<Event>
): Promise<PipeEnd> {
  const { url, cursor = null, onEvent, onTruncated } = options
  let disabled = false

  const source: Source<PipeEnd> = {
    cursor,
    next: () => ({ url, method: 'GET' }),
    event (fields, id) {
      if (id !== null || fields.type !== 'backlog.truncated') {
        onEvent(fields as Event, id) // the app knows what its server publishes
      } else if (source.cursor !== BEGINNING) {
        source.cursor = BEGINNING
        onTruncated?.(oldestIn(fields))
      }
      return undefined
    },
    comment (text) {
      disabled ||= text === 'push_disabled'
      return undefined
    },
    ended: () => disabled ? { status: 'disabled' } : undefined
  }
  return await follow(source, options)
}

function oldestIn ({ payload }: Record<string, unknown>): string | null {
  // Of the server's making
  const { oldest_retained_id: id = null } = Object(payload) as { oldest_retained_id?: string | null }
  return id
}
