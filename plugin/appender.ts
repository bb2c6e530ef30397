import type { ArrayRow, Connection } from './connection.js'
import type { MessageStatus } from './journal.js'
import { LateError } from './postgres-errors.js'

/** An event on its way into the journal. */
export interface NewEvent {
  messageId: string
  sequenceNo: number
  eventType: string
  /** A JSON object as text without line breaks, as `JSON.stringify` writes it. */
  payload: string
  /** The writer's epoch; a row whose message has another one is refused. `null`: not a lease holder, never fenced. */
  epoch: number | null
  /** Set on a terminal event: what becomes of the message in the same transaction. */
  finish: { status: MessageStatus, error: string | null } | null
}

/** Why an event did not get in; `missing`: there is no such message. `fenced`: it has another writer by now. */
export type Refusal = 'missing' | 'stopped' | 'fenced'

/** A row that stands where a new event wanted to. */
export interface TakenRow {
  messageId: string
  sequenceNo: number
  eventType: string
  payload: string
}

/** What a batch of events needs of the journal; on a connection of its own, or inside a transaction. */
export interface Appender {
  /**
   * Commits all events of the batch in one transaction. Those of a writer who may not write are in the answer, and then
   * nothing of the batch is written. Nor is it when this rejects: with `unique_violation` when a number is taken, with
   * LateError when an allotted number would fill a hole.
   */
  append<E extends NewEvent> (events: readonly E[]): Promise<Map<E, Refusal>>
  /** From now on, a lease holder's events get in only above these numbers, one for each message. */
  raiseFloor (floors: ReadonlyMap<string, number>): Promise<void>
  /** The rows that stand at the events' places, and the newest number of each of the events' messages that has rows. */
  findTaken (events: readonly NewEvent[]): Promise<{ taken: TakenRow[], latest: Map<string, number> }>
}

const LATE = 'an allotted number is behind one that the app chose'

export function createAppender (connection: Connection): Appender {
  /** `null`: it is committed. */
  async function appendOne ({ messageId, sequenceNo, eventType, payload, epoch }: NewEvent): Promise<Refusal | null> {
    if (await connection.count('appendOne', [messageId, sequenceNo, eventType, payload, epoch]) === 1) return null
    const [row] = await connection.query('findRefusal', [messageId, epoch])
    if (row === undefined || epoch === null) return 'missing' // who has no lease is refused for nothing else
    return toRefusal(row[0])
  }

  /** A row for each writer who was refused: its place, and why. */
  async function appendAll (events: readonly NewEvent[]): Promise<ArrayRow[]> {
    const writers = writersOf(events).map(({ first }) => first)
    const finishing = events.filter((event) => event.finish !== null)
    const values: unknown[] = [
      arrayOf(events, (event) => event.messageId),
      arrayOf(events, (event) => event.sequenceNo),
      arrayOf(events, (event) => quoted(event.eventType)),
      events.map((event) => event.payload).join('\n'),
      arrayOf(writers, (first) => first.messageId),
      arrayOf(writers, (first) => first.epoch ?? 'NULL'),
      arrayOf(writers, (first) => first.epoch === null ? 'NULL' : first.sequenceNo)
    ]
    if (finishing.length === 0) return await connection.query('append', values)
    values.push(arrayOf(finishing, (event) => event.messageId), finishing.map((event) => event.finish?.status), finishing.map((event) => event.finish?.error))
    return await connection.query('appendAndFinish', values)
  }

  return {
    async append (events) {
      const refusals = new Map<typeof events[number], Refusal>()
      const [only] = events
      if (events.length === 1 && only?.finish === null) {
        const refusal = await appendOne(only)
        return refusal === null ? refusals : refusals.set(only, refusal)
      }
      const rows = await appendAll(events)
      if (rows.length === 0) return refusals
      const ofWriters = new Map(rows.map(([place, refusal]) => [Number(place), toRefusal(refusal)]))
      for (const [index, writer] of writersOf(events).entries()) {
        const refusal = ofWriters.get(index + 1)
        if (refusal === undefined) continue
        for (const event of writer.events) refusals.set(event, refusal)
      }
      return refusals
    },

    async raiseFloor (floors) {
      await connection.query('raiseFloor', [arrayOf([...floors.keys()], String), arrayOf([...floors.values()], String)])
    },

    async findTaken (events) {
      const rows = await connection.query('findTaken', [
        arrayOf(events, (event) => event.messageId),
        arrayOf(events, (event) => event.sequenceNo)
      ])
      const taken: TakenRow[] = []
      const latest = new Map<string, number>()
      for (const [id, sequenceNo, eventType, payload, newest] of rows) {
        const messageId = String(id)
        latest.set(messageId, Number(newest))
        if (eventType != null && payload != null) taken.push({ messageId, sequenceNo: Number(sequenceNo), eventType, payload })
      }
      return { taken, latest }
    }
  }
}

/** The events of each message and epoch, in their order. */
function writersOf<E extends NewEvent> (events: readonly E[]): Array<{ first: E, events: E[] }> {
  const writers = new Map<string, { first: E, events: E[] }>()
  for (const event of events) {
    const key = `${event.messageId} ${event.epoch}`
    const writer = writers.get(key)
    if (writer === undefined) writers.set(key, { first: event, events: [event] })
    else writer.events.push(event)
  }
  return [...writers.values()]
}

const QUOTABLE = /["\\]/g

/** An element of an array literal: https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO */
function quoted (text: string): string {
  return `"${text.search(QUOTABLE) < 0 ? text : text.replace(QUOTABLE, '\\$&')}"`
}

/** A Postgres array literal of texts that need no quoting (UUIDs, numbers, NULL), or have it: pg would look at each character. */
export function arrayOf<T> (values: readonly T[], text: (value: T) => string | number): string {
  return `{${values.map(text).join(',')}}`
}

/** Throws for what is no refusal of the writer: the caller gives the events other numbers. */
export function toRefusal (text: string | null | undefined): Refusal {
  if (text === 'late') throw new LateError(LATE)
  return text as Refusal // statements.ts has no others
}
