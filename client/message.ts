import type { JournalClientError } from './errors.js'
import { absolute, follow } from './follow.js'
import { createMessageId } from './ids.js'
import type { ConnectionOptions } from './options.js'
import type { Source } from './source.js'

/** A payload, as the app gave it to `record`. */
export type EventPayload = Record<string, unknown>

/** What `streamMessage` and `resumeMessage` share. */
export interface MessageOptions<Payload extends object = EventPayload> extends ConnectionOptions {
  /** A relative address is relative to the page. */
  url: string
  /**
   * Called with each event, once and in order, and with its id: the sequence number, or `null` for an event that did
   * not reach the journal and is shown all the same. If it throws, the call rejects with that error.
   */
  onEvent: (payload: Payload, id: string | null) => void
  /** The server's option of that name, for a cursor that is at the end already. Default `['end', 'error']`. */
  terminalTypes?: readonly string[] | undefined
}

/** Options of `streamMessage`. */
export interface StreamMessageOptions<Payload extends object = EventPayload> extends MessageOptions<Payload> {
  /** Sent as JSON, with `messageId` added. */
  body?: object | undefined
  /** A UUID. The same one again resumes the message, and does not run it twice. Default: a new one. */
  messageId?: string | undefined
  /**
   * The message's reconnect route. Default: the answer's `Location`, or, before there is one,
   * `messages/<messageId>/events` beside `url`.
   */
  eventsUrl?: ((messageId: string) => string) | undefined
}

/** Options of `resumeMessage`. */
export interface ResumeMessageOptions<Payload extends object = EventPayload> extends MessageOptions<Payload> {
  /** The id of the last event received. Default: from the first event on. */
  lastEventId?: string | null | undefined
}

/** How a message has ended. */
export interface MessageEnd<Payload extends object = EventPayload> {
  /** `unknown`: it has ended, and the terminal event was before the cursor. */
  status: 'complete' | 'failed' | 'stopped' | 'unknown'
  /** The id of the last event received. */
  lastEventId: string | null
  /** The payload of the last event, which is the terminal one; `null`: it was before the cursor. */
  event: Payload | null
}

/**
 * The code of a repeated POST's 409. A server may also answer with a 303 to the reconnect route, which fetch follows.
 */
const EXISTS = 'FST_JOURNAL_MESSAGE_EXISTS'
const NO_CONTENT = 204
const NOT_FOUND = 404
/** Statuses of a POST that was refused before it ran. */
const REFUSED = [401, 429, 503]

/** The comment behind a message's last event. No event's type counts as the end while the message may go on. */
const END = /^end (complete|failed|stopped)$/

/** The requests of a message. The rest is the same for all. */
interface Way extends Pick<Source<object>, 'cursor' | 'next' | 'opened'> {
  answered? (response: Response, failure: JournalClientError | null): true | undefined
}

/**
 * POSTs, and follows the answer to its end over as many connections as it takes. After a POST without an answer it asks
 * the reconnect route first, and sends the POST again, with the same id, only if the server has no such message. A
 * first POST may still be on its way, so the server must accept an id once (303 or 409 for the second).
 */
export async function streamMessage<Payload extends object = EventPayload> (
  options: StreamMessageOptions<Payload>
): Promise<MessageEnd<Payload>> {
  const { url, body, messageId = createMessageId(), eventsUrl } = options
  const json = JSON.stringify({ ...body, messageId })
  let address = eventsUrl?.(messageId) ?? absolute(`messages/${messageId}/events`, absolute(url))
  /**
   * Whether the POST is to be sent; whether it was the last request; whether the server is known to have the message.
   */
  let mustPost = true
  let posted = false
  let known = false

  return await followMessage(options, {
    cursor: null,
    next () {
      posted = mustPost
      mustPost = false // whatever becomes of it, ask first
      return posted ? { url, method: 'POST', body: json } : { url: address, method: 'GET' }
    },
    answered (response, failure) {
      const status = failure?.status ?? 200
      if (!posted) {
        mustPost = status === NOT_FOUND && !known
        return mustPost || undefined
      }
      if (eventsUrl === undefined) address = addressIn(response, messageId, url) ?? address
      if (failure?.code === EXISTS) return (known = true)
      mustPost = REFUSED.includes(status)
      if (status === NO_CONTENT && !response.redirected) throw failure
      return undefined
    },
    opened () { known = true }
  })
}

/** Follows a message from a cursor to its end: after a refresh, or in a second tab. */
export async function resumeMessage<Payload extends object = EventPayload> (
  options: ResumeMessageOptions<Payload>
): Promise<MessageEnd<Payload>> {
  const { url, lastEventId = null } = options
  return await followMessage(options, { cursor: lastEventId, next: () => ({ url, method: 'GET' }) })
}

async function followMessage<Payload extends object> (
  options: MessageOptions<Payload>, way: Way
): Promise<MessageEnd<Payload>> {
  const { onEvent, terminalTypes = ['end', 'error'] } = options
  let last: Payload | null = null
  /** The type of the newest event, if it is a terminal one. */
  let terminalType: string | undefined

  function end (status: MessageEnd['status']): MessageEnd<Payload> {
    return { status, lastEventId: source.cursor, event: last }
  }

  /**
   * The server says that the cursor has everything. The last event, if it came here, tells how the message has ended.
   */
  function endByType (): MessageEnd<Payload> {
    if (terminalType === 'error') return end('failed')
    if (terminalType !== undefined) {
      const ended = last as { reason?: unknown } | null
      return end(ended?.reason === 'stopped' ? 'stopped' : 'complete')
    }
    last = null
    return end('unknown')
  }

  const source: Source<MessageEnd<Payload>> = {
    ...way,
    answered: (response, failure) =>
      way.answered?.(response, failure) ?? (failure?.status === NO_CONTENT ? endByType() : undefined),
    event (fields, id, name) {
      const payload = fields as Payload // the app knows what its server records
      onEvent(payload, id)
      const { type, code } = fields
      const isMissing = type === 'error' && code === 'message_missing'
      if (id !== null || isMissing) {
        last = payload
        terminalType = terminalTypes.find((terminal) => terminal === type || terminal === name)
      }
      return isMissing ? end('failed') : undefined
    },
    comment (text) {
      const status = END.exec(text)?.[1] as Exclude<MessageEnd['status'], 'unknown'> | undefined // the pattern's
      return status && end(status)
    }
  }
  return await follow(source, options)
}

function addressIn ({ url, redirected, headers }: Response, messageId: string, asked: string): string | null {
  const location = headers.get('location')
  if (location !== null) {
    return absolute(location, url ||
    absolute(asked))
  } // a Response that an app's `fetch` made has no url
  return redirected && url.includes(messageId) ? url : null
}
