import type { Connection } from './connection.js'
import type { MessageStatus } from '../wire/status.js'
import { sqlState } from './failures.js'

const LOCK_NOT_AVAILABLE = '55P03'
/** Raised by `journal_append`. */
const WRITER_REFUSED = 'JR001'

/** What becomes of a message with its terminal event. */
export interface Ending {
  status: MessageStatus
  /** For `messages.error`. */
  error: string | null
}

/** An event with its number. */
export interface NumberedEvent {
  messageId: string
  sequenceNo: number
  eventType: string
  /** A JSON object as text without line breaks, as `JSON.stringify` writes it. */
  payload: string
  /** Set on a terminal event: what becomes of the message in the same transaction. */
  ending: Ending | null
}

/** Events of one message by one writer, at least one, in ascending order. A terminal event comes last. */
export interface EventGroup<Event extends NumberedEvent = NumberedEvent> {
  messageId: string
  /** The writer's lease; `null`: it has none, and is never fenced. */
  epoch: number | null
  events: readonly Event[]
}

/**
 * Why a group was refused.
 * - `missing`: there is no such message. `fenced`: it has another writer. `stopped`: it was stopped. `ended`: it has
 *   ended otherwise. These stay so until the message is opened again.
 * - `taken`: the group's first number is not above `lastNo`, which is the message's newest.
 * - `locked`: somebody holds the message's row.
 */
export type Refusal = 'missing' | 'fenced' | 'stopped' | 'ended'

/** Why a group is not in the journal. */
export type Refused = { reason: Refusal | 'locked' } | { reason: 'taken', lastNo: number }

/** A row with the message and number of an event that was looked for. */
export interface TakenRow {
  messageId: string
  sequenceNo: number
  eventType: string
  payload: string
}

/** What raises a message's `last_no` over the numbers of doubtful events. */
export interface Fence {
  messageId: string
  /** The lease of the writer whose statements may still run; `null`: it has none. */
  epoch: number | null
  /** The highest of the writer's numbers. */
  sequenceNo: number
}

/** Each method is one transaction. All reject with pg's error. */
export interface Appender {
  /**
   * Commits the groups, each of another message, and raises `last_no` over them. The answer has the refused groups by
   * their index; all others are committed. When it rejects, none is committed, unless the outcome is unknown.
   * `careful`: a locked row is expected.
   */
  append (groups: readonly EventGroup[], lockTimeoutMs: number, careful: boolean): Promise<ReadonlyMap<number, Refused>>
  /**
   * Raises `last_no`, so that no running append can commit these numbers, or lower ones. Answers with the indexes of
   * the fences whose row somebody holds; those were not raised.
   */
  fence (fences: readonly Fence[], lockTimeoutMs: number): Promise<Set<number>>
  /** The rows at the events' numbers, and the newest number of each of their messages that has rows. */
  findTaken (
    events: ReadonlyArray<Pick<NumberedEvent, 'messageId' | 'sequenceNo'>>
  ): Promise<{ taken: TakenRow[], newest: Map<string, number> }>
}

/** Calls the journal's functions on one client. */
export function createAppender (connection: Connection): Appender {
  return {
    async append (groups, lockTimeoutMs, careful) {
      const answer = careful ? null : await appendFast(connection, groups)
      if (!careful && answer !== CONTENDED) return toRefusals(answer)
      return toRefusals(await connection.call('appendSome', [lockTimeoutMs, ...valuesOf(groups)]))
    },

    async fence (fences, lockTimeoutMs) {
      const answer = await connection.call('fence', [
        lockTimeoutMs,
        arrayOf(fences, (fence) => fence.messageId),
        arrayOf(fences, (fence) => fence.epoch ?? 'NULL'),
        arrayOf(fences, (fence) => fence.sequenceNo)
      ])
      const places = answer === null ? [] : JSON.parse(answer) as number[] // of the function's making
      return new Set(places.map((place) => place - 1))
    },

    async findTaken (events) {
      const rows = await connection.query('findTaken', [
        arrayOf(events, (event) => event.messageId),
        arrayOf(events, (event) => event.sequenceNo)
      ])
      const taken: TakenRow[] = []
      const newest = new Map<string, number>()
      for (const [id, sequenceNo, eventType, payload, last] of rows) {
        const messageId = String(id)
        newest.set(messageId, Number(last))
        if (eventType == null || payload == null) continue
        taken.push({ messageId, sequenceNo: Number(sequenceNo), eventType, payload })
      }
      return { taken, newest }
    }
  }
}

const CONTENDED = 'contended'
const NONE: ReadonlyMap<number, Refused> = new Map()

/** Resolves with CONTENDED when a group is refused or its row is locked. Then no group is committed. */
async function appendFast (connection: Connection, groups: readonly EventGroup[]): Promise<string | null> {
  const [group] = groups
  const event = group?.events[0]
  try {
    if (groups.length > 1 || group === undefined || group.events.length > 1 || event?.ending !== null) {
      return await connection.call('append', valuesOf(groups))
    }
    const { messageId, sequenceNo, eventType, payload } = event
    return await connection.call('appendOne', [messageId, sequenceNo, eventType, payload, group.epoch])
  } catch (error) {
    const code = sqlState(error)
    if (code !== LOCK_NOT_AVAILABLE && code !== WRITER_REFUSED) throw error
    return CONTENDED
  }
}

/** The arguments of `journal_append`. */
function valuesOf (groups: readonly EventGroup[]): unknown[] {
  const places: number[] = []
  const numbers: number[] = []
  const types: string[] = []
  const payloads: string[] = []
  const endings: Array<'NULL' | 'true'> = []
  let isEnding = false
  for (const [index, { events }] of groups.entries()) {
    for (const { sequenceNo, eventType, payload, ending } of events) {
      places.push(index + 1)
      numbers.push(sequenceNo)
      types.push(quoted(eventType))
      payloads.push(payload)
      endings.push(ending === null ? 'NULL' : 'true')
      isEnding ||= ending !== null
    }
  }
  const lastOf = ({ events }: EventGroup): NumberedEvent | undefined => events[events.length - 1]
  return [
    `{${places.join(',')}}`,
    `{${numbers.join(',')}}`,
    `{${types.join(',')}}`,
    payloads.join('\n'),
    isEnding ? `{${endings.join(',')}}` : null,
    arrayOf(groups, (group) => group.messageId),
    arrayOf(groups, (group) => group.epoch ?? 'NULL'),
    arrayOf(groups, (group) => Number(group.events[0]?.sequenceNo)),
    arrayOf(groups, (group) => Number(lastOf(group)?.sequenceNo)),
    isEnding ? groups.map((group) => lastOf(group)?.ending?.status ?? null) : null,
    isEnding ? groups.map((group) => lastOf(group)?.ending?.error ?? null) : null
  ]
}

function toRefusals (answer: string | null): ReadonlyMap<number, Refused> {
  if (answer === null) return NONE
  // Of the function's making
  const refusals = JSON.parse(answer) as Array<[place: number, reason: Refused['reason'], lastNo: number | null]>
  return new Map(refusals.map(([place, reason, lastNo]) => {
    return [place - 1, reason === 'taken' ? { reason, lastNo: Number(lastNo) } : { reason }]
  }))
}

const QUOTABLE = /["\\]/g

/** An element of an array literal: https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO */
function quoted (text: string): string {
  return `"${text.search(QUOTABLE) < 0 ? text : text.replace(QUOTABLE, '\\$&')}"`
}

/**
 * A Postgres array literal of texts that need no quoting (UUIDs, numbers, NULL) or are quoted already. pg would look at
 * each character.
 */
export function arrayOf<T> (values: readonly T[], text: (value: T) => string | number): string {
  return `{${values.map(text).join(',')}}`
}
