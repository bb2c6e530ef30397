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
  /** The message has ended with this event, and has this status. */
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

/** What a reader takes from an envelope; any other field, the message's id included, is the writer's own matter. */
export interface Announcement extends Omit<Envelope, 'messageId' | 'committed' | 'ends'> {
  /**
   * As in `Envelope`. `null`: the writer does not say. Its envelope is a hint to look into the journal, and no more.
   */
  committed: boolean | null
  /** The status with which it ended the message; `null`: it did not. */
  ends: string | null
  /** `payload.type`, which may end a message; `undefined` when it is not a string. */
  payloadType: string | undefined
}

/** It is shown to readers in a comment. */
const STATUS = /^[a-z]+$/

/** Never throws: `null` for anything that is not an envelope with a sequence number and an object as its payload. */
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

/** The id that a notification's envelope announces, in full; `null` when it has none that Redis could have given. */
export function announcedId (text: string): string | null {
  return parseStreamId(parseObject(text)?.id)
}

/** `type` of a stored payload, or of a notification's envelope; `undefined` when it has none or is no JSON object. */
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
 * The text of a top-level member that `json`, a valid JSON object, has, with the white space around the
 * value cut off. The last of several members of one name, as `JSON.parse` has it.
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

/** Where the string that begins at `from` is over. */
function endOfString (json: string, from: number): number {
  let at = from + 1
  while (json.charCodeAt(at) !== QUOTE) at += json.charCodeAt(at) === BACKSLASH ? 2 : 1
  return at + 1
}
