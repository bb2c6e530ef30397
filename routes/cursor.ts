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
 * The cursor in a message: digits. Anything else is no cursor, `null`. A number that is too large for the table is
 * returned as it is (at worst Infinity), and is past every row.
 */
export function parseCursor (header: unknown, query: unknown): number | null {
  const text = cursorOf(header, query)
  return typeof text === 'string' && DIGITS.test(text) ? Number(text) : null
}

/** The cursor in a user's notifications; `null`: none; UNKNOWN: no entry can have this id. */
export function parseStreamCursor (header: unknown, query: unknown): string | null {
  const text = cursorOf(header, query)
  if (text === undefined || text === '') return null
  const id = parseStreamId(text)
  return id === null || id === FIRST ? UNKNOWN : id
}
