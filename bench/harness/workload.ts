/** What is written and read: the same rows and the same bytes for every contender. */

/** The size of an answer event's payload, as JSON. */
export const PAYLOAD_BYTES = 200
export const EVENT_TYPE = 'answer'
export const END_TYPE = 'end'
export const END_PAYLOAD = { type: 'end' }
export const USER_ID = 'bench'

const FILL = 'all work and no play '
const TEXT_LENGTH = PAYLOAD_BYTES - JSON.stringify({ type: EVENT_TYPE, answer: '' }).length

/** The id of the `index`-th message, as ordered as real ones (UUID version 7) are. */
export function messageIdOf (index: number): string {
  return `01900000-0000-7000-8000-${index.toString(16).padStart(12, '0')}`
}

export function messageIds (count: number, first = 0): string[] {
  return Array.from({ length: count }, (_, index) => messageIdOf(first + index))
}

/** {@link messageIdOf}, in SQL. */
export function messageIdSql (index: string): string {
  return `('01900000-0000-7000-8000-' || lpad(to_hex(${index}), 12, '0'))::uuid`
}

/** What tells the payloads of one message from another's; only a digit, so that their frames can be kept ready. */
export function keyOf (messageId: string): string {
  return messageId.slice(-1)
}

export function payloadOf (key: string, n: number): { type: string, answer: string } {
  return { type: EVENT_TYPE, answer: `${key} ${n}`.padStart(TEXT_LENGTH, FILL) }
}

/** {@link payloadOf} as JSON text, in SQL. */
export function payloadSql (messageId: string, n: string): string {
  return `'{"type":"${EVENT_TYPE}","answer":"' || lpad(right(${messageId}::text, 1) || ' ' || ${n}, ${TEXT_LENGTH}, '${FILL}') || '"}'`
}

/**
 * How a contender writes an event: `plain` as this library does, `better-sse` as that one does. `end`: the row is the
 * message's terminal event.
 */
export type FrameStyle = 'plain' | 'better-sse'

export function frameOf (style: FrameStyle, key: string, n: number, end = false): string {
  const payload = JSON.stringify(end ? END_PAYLOAD : payloadOf(key, n))
  return style === 'plain' ? `data: ${payload}\nid: ${n}\n\n` : `event:message\nid:${n}\ndata:${payload}\n\n`
}

/** Who asks, where it is not {@link USER_ID}: a header that the apps believe. */
export const USER_HEADER = 'x-user'

export function userIds (count: number): string[] {
  return Array.from({ length: count }, (_, index) => `user-${index}`)
}

/** A notification as the user pipe has it, before it has an id. */
export function notificationOf (userId: string, n: number): string {
  return `{"type":"${EVENT_TYPE}","ts":"${new Date().toISOString()}","user_id":"${userId}","topic":"user:${userId}","scope":{},"payload":${JSON.stringify(payloadOf(keyOf(userId), n))}}`
}

export function notificationFrameOf (userId: string, n: number, id: string): string {
  return `data: ${notificationOf(userId, n).slice(0, -1)},"id":"${id}"}\nid: ${id}\n\n`
}
