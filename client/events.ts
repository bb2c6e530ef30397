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
  /** The cursor that a reader has with it. */
  id: string
}

/** Options of `connectEvents`. */
export interface EventsOptions<Event extends object = UserEvent> extends ConnectionOptions {
  /** The user pipe. A relative address is relative to the page. */
  url: string
  /** The id of the last event received. Without one, only what comes from now on. */
  cursor?: string | null | undefined
  /**
   * Each event, once and in order, with its id: the cursor that a later call may go on from. What it throws ends the
   * call, which rejects with it.
   */
  onEvent: (event: Event, id: string | null) => void
  /**
   * Events past the cursor are gone: it was too old, or Redis has lost them. The argument is the id of the oldest event
   * there is; what is new to the reader is given next. A cursor that is kept somewhere becomes `BEGINNING`.
   */
  onTruncated?: ((oldestRetainedId: string | null) => void) | undefined
}

/** A cursor before every event. */
export const BEGINNING = '0-0'

/** How the pipe ends when nobody ends it. */
export interface PipeEnd {
  /** The server has its user pipe turned off. */
  status: 'disabled'
}

/**
 * Follows the user's events, over as many connections as it takes, until the signal aborts. Resolves only when the
 * server has the pipe turned off.
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
  const { oldest_retained_id: id = null } = Object(
    payload) as { oldest_retained_id?: string | null } // of the server's making
  return id
}
