/**
 * `text`: the payload as the journal stores it. `error`: why it cannot be stored. `replaced`: it was not a plain
 * object, and `{}` stands for it.
 */
export type SerializedPayload =
  | { text: string, bytes: number, replaced: boolean }
  | { error: Error }

const ESCAPED_NUL = '\\u0000'
const ESCAPE = /\\(?:u0000|.)/g

/**
 * Serialises a payload, once: its text is stored, published and replayed as it is. Never throws. U+0000 is removed from
 * every string and key, because Postgres' text functions cannot hold it. Half a surrogate pair stays as an escape,
 * because `JSON.stringify` is well-formed.
 */
export function serializePayload (payload: unknown, maxBytes: number): SerializedPayload {
  try {
    const plain = isPlainObject(payload)
    let text = plain ? JSON.stringify(payload) : '{}'
    const replaced = payload !== undefined && (!plain || typeof text !== 'string' || !text.startsWith('{'))
    if (replaced) text = '{}'
    if (text.includes(ESCAPED_NUL)) text = stripNul(text)
    const bytes = Buffer.byteLength(text)
    if (bytes > maxBytes) {
      return { error: new RangeError(`the payload has ${bytes} bytes, more than maxPayloadBytes (${maxBytes})`) }
    }
    return { text, bytes, replaced }
  } catch (error) {
    return { error: new TypeError('the payload cannot be serialised', { cause: error }) }
  }
}

/** Reads one escape at a time, so that an escaped backslash before `u0000` does not count as a NUL. */
function stripNul (json: string): string {
  return json.replace(ESCAPE, (escape) => escape === ESCAPED_NUL ? '' : escape)
}

/**
 * An object literal, `JSON.parse`'s or a null-prototype object, of this realm or another; not an array, a Date or a
 * class's instance.
 */
export function isPlainObject (value: unknown): value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}
