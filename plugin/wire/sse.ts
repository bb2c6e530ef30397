/**
 * The bytes of Server-Sent Events:
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */

const LINE_BREAK = /\r\n|\r|\n/g
const UNSAFE_NAME = /[\r\n\0]/

/** An SSE event. */
export interface Frame {
  /** Text of any shape; each of its lines becomes one `data:` line. */
  data: string
  /** The cursor that a client holds once it has the frame. Absent: the client's cursor stays where it is. */
  id?: number | string
  /** The event's name. One with CR, LF or NUL is left out: it could forge other fields. */
  event?: string
}

/**
 * One SSE record. The `id` line comes last, so that a client that takes an id as soon as it reads it never
 * skips a frame that was cut in half.
 */
export function encodeFrame ({ data, id, event }: Frame): string {
  const name = event === undefined || UNSAFE_NAME.test(event) ? '' : `event: ${event}\n`
  const cursor = id === undefined || UNSAFE_NAME.test(String(id)) ? '' : `id: ${id}\n`
  return `${name}data: ${isOneLine(data) ? data : data.replace(LINE_BREAK, '\ndata: ')}\n${cursor}\n`
}

/**
 * Two substring searches: on text without line breaks, which is nearly all, they are faster than one regular
 * expression.
 */
function isOneLine (text: string): boolean {
  return !text.includes('\n') && !text.includes('\r')
}

/** A comment, which clients pass over. */
export const KEEPALIVE = Buffer.from(': keepalive\n\n')

/** There are no notifications. */
export const PUSH_DISABLED = Buffer.from(': push_disabled\n\n')

/** `meanMs` ± 50 %, so that a crowd does not return as one. */
export function jittered (meanMs: number): number {
  return Math.round(meanMs * (0.5 + Math.random()))
}

/** Tells the client how long to wait before it reconnects. */
export function encodeRetry (ms: number): string {
  return `retry: ${ms}\n\n`
}

/** What every response begins with, so that its headers and first bytes leave at once. */
export function encodeOpening (retryMs: number): Buffer {
  return Buffer.from(`: connected\n\n${encodeRetry(retryMs)}`)
}

/** The stream is over, and how it has ended: for clients that want to know, in a comment. */
export function encodeEnd (end: string): Buffer {
  return Buffer.from(`: end ${end}\n\n`)
}
