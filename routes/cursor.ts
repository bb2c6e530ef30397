import { UNKNOWN } from '../plugin/notifications/notification-log.js'
import { FIRST, parseStreamId } from '../plugin/wire/stream-id.js'

const DIGITS = /^\d+$/

/**
 * A reader's cursor: the `Last-Event-ID` header, else the query's `last_event_id`. The header wins, because a browser
 * keeps its URL when it reconnects.
 */
function cursorOf (header: unknown, query: unknown): unknown {
  return header === undefined || header === '' ? query : header
}

/**
 * The cursor in a message. Digits only; anything else is no cursor: `null`. A number too large to be one of ours comes
 * back as it is (Infinity at worst): it stands past every row.
 */
export function parseCursor (header: unknown, query: unknown): number | null {
  const text = cursorOf(header, query)
  return typeof text === 'string' && DIGITS.test(text) ? Number(text) : null
}

/** The cursor in a user's notifications; `null` when there is none, UNKNOWN when no entry can have it as its id. */
export function parseStreamCursor (header: unknown, query: unknown): string | null {
  const text = cursorOf(header, query)
  if (text === undefined || text === '') return null
  const id = parseStreamId(text)
  return id === null || id === FIRST ? UNKNOWN : id
}
