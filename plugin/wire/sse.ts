/**
 * The bytes of Server-Sent Events:
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */

const LINE_BREAK = /\r\n|\r|\n/g
const UNSAFE_NAME = /[\r\n\0]/

/** An SSE event. */
export interface Frame {
  /** Any text. Each of its lines becomes a `data:` line. */
  data: string
  /** The client's cursor after the frame. Absent: it does not move. */
  id?: number | string
  /** The event's name. A name with CR, LF or NUL is left out, because it could forge other fields. */
  event?: string
}

/**
 * One SSE event as text. The `id` line is last, so that a client that uses an id as soon as it reads it never skips a
 * frame that was cut.
 */
export function encodeFrame ({ data, id, event }: Frame): string {
  const name = event === undefined || UNSAFE_NAME.test(event) ? '' : `event: ${event}\n`
  const cursor = id === undefined || UNSAFE_NAME.test(String(id)) ? '' : `id: ${id}\n`
  return `${name}data: ${isOneLine(data) ? data : data.replace(LINE_BREAK, '\ndata: ')}\n${cursor}\n`
}

/**
 * Two substring searches are faster than a regular expression on text without line breaks, which nearly all text is.
 */
function isOneLine (text: string): boolean {
  return !text.includes('\n') && !text.includes('\r')
}

/** A comment, which clients pass over. */
export const KEEPALIVE = Buffer.from(': keepalive\n\n')

/** A comment in place of notifications that are off. */
export const PUSH_DISABLED = Buffer.from(': push_disabled\n\n')

/** `meanMs` ± 50 %, so that a crowd does not return as one. */
export function jittered (meanMs: number): number {
  return Math.round(meanMs * (0.5 + Math.random()))
}

/** Tells the client how long to wait before it reconnects. */
export function encodeRetry (ms: number): string {
  return `retry: ${ms}\n\n`
}

/** The first bytes of every response, so that its headers leave at once. */
export function encodeOpening (retryMs: number): Buffer {
  return Buffer.from(`: connected\n\n${encodeRetry(retryMs)}`)
}

/** A comment that tells clients how the stream has ended. */
export function encodeEnd (end: string): Buffer {
  return Buffer.from(`: end ${end}\n\n`)
}
