import type { MessageStatus } from './status.js'
import { parseStreamId } from './stream-id.js'

/**
 * What is published on a message's topic. Byte for byte
 * `{"message_id":…,"sequence_no":…,"event_type":…,"payload":{…},"committed":true}`, with `"ends":"<status>"` added for
 * the event that ended the message. `"committed":false` says that the event has no row. The payload is carried as the
 * text that is stored in the journal: it is never parsed and written again, so a live frame and its replay are the same
 * bytes, and numbers that JavaScript cannot hold survive.
 */
export interface Envelope {
  messageId: string
  sequenceNo: number
  eventType: string
  /** A JSON object, as text. */
  payload: string
  /** `true`: its row is committed under this number. `false`: it has no row, and is shown without an id. */
  committed: boolean
  /** Set if the message has ended with this event: its status. */
  ends?: MessageStatus | undefined
}

/** The largest number in `message_events.sequence_no`: https://www.postgresql.org/docs/current/datatype-numeric.html */
export const MAX_SEQUENCE_NO = 2_147_483_647

/** Whether the value fits the column `sequence_no`. */
export function isSequenceNo (value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_SEQUENCE_NO
}

/** The text that is published, on one line. */
export function encodeEnvelope ({ messageId, sequenceNo, eventType, payload, committed, ends }: Envelope): string {
  const end = ends === undefined ? '' : `,"ends":"${ends}"`
  const type = JSON.stringify(eventType)
  return `{"message_id":"${messageId}","sequence_no":${sequenceNo},"event_type":${type},` +
    `"payload":${payload},"committed":${committed}${end}}`
}

/** What a reader takes from an envelope. It ignores all other fields, the message's id included. */
export interface Announcement extends Omit<Envelope, 'messageId' | 'committed' | 'ends'> {
  /** As in `Envelope`. `null`: the envelope does not say, and is only a hint to read the journal. */
  committed: boolean | null
  /** The status with which the event ended the message; `null`: it did not end it. */
  ends: string | null
  /** `payload.type`, which may end a message; `undefined` when it is not a string. */
  payloadType: string | undefined
}

/** Statuses that an envelope may name, because readers get them in a comment. */
const STATUS = /^[a-z]+$/

/** Parses an envelope. `null`: it has no sequence number, or no object as its payload. Never throws. */
export function decodeEnvelope (text: string): Announcement | null {
  const envelope = parseObject(text)
  if (envelope === null || !isSequenceNo(envelope.sequence_no) || !isObject(envelope.payload)) return null
  const payload = memberText(text, 'payload')
  const { event_type: eventType, payload: { type }, committed, ends } = envelope
  return {
    sequenceNo: envelope.sequence_no,
    eventType: typeof eventType === 'string' ? eventType : '',
    payload,
    payloadType: typeof type === 'string' ? type : undefined,
    committed: typeof committed === 'boolean' ? committed : null,
    ends: typeof ends === 'string' && STATUS.test(ends) ? ends : null
  }
}

/** The full id that a notification's envelope announces; `null`: it has none that Redis could have given. */
export function announcedId (text: string): string | null {
  return parseStreamId(parseObject(text)?.id)
}

/** The `type` of a stored payload, or of a notification's envelope; `undefined`: it has none, or is no JSON object. */
export function payloadType (payload: string): string | undefined {
  const type = parseObject(payload)?.type
  return typeof type === 'string' ? type : undefined
}

function isObject (value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parseObject (text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? value : null
  } catch {
    return null
  }
}

const QUOTE = 0x22
const BACKSLASH = 0x5c

/**
 * The text of a top-level member of `json`, a valid JSON object, without white space around the value. Of several
 * members of one name the last, as in `JSON.parse`.
 */
function memberText (json: string, name: string): string {
  let depth = 0
  let key = ''
  let from = -1
  let found = ''
  for (let at = 0; at < json.length; at++) {
    const character = json[at]
    if (character === '"') {
      const end = endOfString(json, at)
      if (depth === 1 && from < 0) key = json.slice(at, end)
      at = end - 1
    } else if (character === '{' || character === '[') depth++
    else if (depth === 1 && from < 0 && character === ':') from = at + 1
    else if (depth === 1 && (character === ',' || character === '}')) {
      if (JSON.parse(key) === name) found = json.slice(from, at).trim()
      from = -1
    } else if (character === '}' || character === ']') depth--
  }
  return found
}

/** The index after the string that begins at `from`. */
function endOfString (json: string, from: number): number {
  let at = from + 1
  while (json.charCodeAt(at) !== QUOTE) at += json.charCodeAt(at) === BACKSLASH ? 2 : 1
  return at + 1
}
