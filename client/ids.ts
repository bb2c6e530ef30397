/** A sequence number, or a stream id such as `1700000000000-0`. */
const PLACE = /^(\d+)(?:-(\d+))?$/

/** The id as a number; either part of a stream id has 64 bits. -1: it is no id. */
function placeOf (id: string | null | undefined): bigint {
  const [, major, minor = 0] = PLACE.exec(String(id)) ?? []
  return major === undefined ? -1n : (BigInt(major) << 64n) + BigInt(minor)
}

/**
 * Compares ids as numbers. Every id is after `null`, and after a text that is no id. Neither of these is after
 * anything.
 */
export function isAfter (id: string | null | undefined, cursor: string | null): boolean {
  return placeOf(id) > placeOf(cursor)
}

/**
 * A random UUID for `messageId`. If it is kept where a refresh finds it, the answer can be resumed. Works without
 * `crypto.randomUUID`, which pages on plain http lack.
 */
export function createMessageId (): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
  // RFC 9562, section 5.4: version 4, variant 8 (of 8, 9, a, b)
  return hex.replace(/(.{8})(.{4}).(.{3}).(.{3})(.*)/, '$1-$2-4$3-8$4-$5')
}
