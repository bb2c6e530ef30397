const DIGITS = /^\d+$/

/**
 * A reader's cursor: the `Last-Event-ID` header, else the query's `last_event_id`. The header wins, because a browser
 * keeps its URL when it reconnects. Digits only; anything else is no cursor: `null`. A number too large to be one of
 * ours comes back as it is (Infinity at worst): it stands past every row.
 */
export function parseCursor (header: unknown, query: unknown): number | null {
  const text = header === undefined || header === '' ? query : header
  return typeof text === 'string' && DIGITS.test(text) ? Number(text) : null
}
