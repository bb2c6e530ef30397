import { inspect } from 'node:util'

/** A value as text for an error's message. */
export function describeValue (value: unknown): string {
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'number') return String(value)
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    return inspect(value, { depth: 1, breakLength: Infinity }) // a BigInt, a cycle
  }
}

/** Whether it is a text of more than U+0000, which is removed. */
export function isEventType (eventType: unknown): eventType is string {
  return typeof eventType === 'string' && toStorableText(eventType) !== ''
}

const UNSTORABLE = /[\0\ud800-\udfff]/

/**
 * The text as Postgres stores it: without U+0000, and with U+FFFD in place of half a surrogate pair, which UTF-8 cannot
 * hold.
 */
export function toStorableText (text: string): string {
  return UNSTORABLE.test(text) ? text.replaceAll('\0', '').toWellFormed() : text
}
