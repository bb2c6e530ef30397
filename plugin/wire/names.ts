import { v7 } from 'uuid'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

/** The form of a UUID in a route's path: RFC 9562, section 4, in either case. */
export const UUID_PATTERN = UUID.source.replaceAll('a-f', 'a-fA-F')

/**
 * The canonical (lower-case) form of a message's UUID, as Postgres returns it and topics are named by; `null`: it is
 * not a UUID.
 */
export function canonicalMessageId (messageId: unknown): string | null {
  return typeof messageId === 'string' && UUID.test(messageId) ? messageId.toLowerCase() : null
}

/** A new message's id: a UUID version 7, so that rows of one time are together in the index. */
export function newMessageId (): string {
  return v7()
}

/** The Redis pub/sub channel of one message. The name is the Python system's. */
export function messageTopic (messageId: string): string {
  return `channel:${messageId}`
}

/** The Redis pub/sub channel of one user's notifications. The name is the Python system's. */
export function userTopic (userId: string): string {
  return `user:${userId}`
}

/** The Redis Stream that keeps a user's notifications. The name is the Python system's. */
export function userStreamKey (userId: string): string {
  return `user:${userId}:stream`
}

/** The Redis key that counts a user's replays. */
export function replaysKey (userId: string): string {
  return `user:${userId}:replays`
}

/** The Redis key that counts a user's open streams. */
export function slotsKey (userId: string): string {
  return `user:${userId}:slots`
}
