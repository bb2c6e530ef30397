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

/** An event that did not get in, by its place in the batch; `missing`: there is no such message. */
export interface Refusal {
  index: number
  reason: 'missing' | 'fenced'
}

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
   * Commits all events of the batch that are not refused, in one transaction, and answers with those that are.
   * Rejects with `unique_violation` when a number is taken, and with LateError when an allotted number would fill a
   * hole; then nothing of the batch is written.
   */
  append (events: readonly NewEvent[]): Promise<Refusal[]>
  /** From now on, a lease holder's events get in only above these numbers, one for each message. */
  raiseFloor (floors: ReadonlyMap<string, number>): Promise<void>
  /** The rows that stand at the events' places, and the newest number of each of the events' messages that has rows. */
  findTaken (events: readonly NewEvent[]): Promise<{ taken: TakenRow[], latest: Map<string, number> }>
}

export function createAppender (connection: Connection): Appender {
  async function send (events: readonly NewEvent[]): Promise<ArrayRow[]> {
    const [first] = events
    if (events.length === 1 && first?.finish === null) {
      const { messageId, sequenceNo, eventType, payload, epoch } = first
      return await connection.query('appendOne', [messageId, sequenceNo, eventType, payload, epoch])
    }
    const finishes = events.some((event) => event.finish !== null)
    const values: unknown[] = [
      arrayOf(events, (event) => event.messageId),
      arrayOf(events, (event) => event.sequenceNo),
      events.map((event) => event.eventType),
      events.map((event) => event.payload).join('\n'),
      arrayOf(events, (event) => event.epoch ?? 'NULL'),
      arrayOf([...new Set(events.map((event) => event.messageId))], (messageId) => messageId)
    ]
    if (finishes) values.push(events.map((event) => event.finish?.status), events.map((event) => event.finish?.error))
    return await connection.query(finishes ? 'appendAndFinish' : 'append', values)
  }

  return {
    async append (events) {
      const rows = await send(events)
      return rows.map(([place, epoch]) => {
        if (place === '0') throw new LateError('an allotted number is behind one that the app chose')
        return { index: Number(place) - 1, reason: epoch === null ? 'missing' : 'fenced' }
      })
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

/** A Postgres array literal of values that need no quoting (UUIDs, numbers, NULL): pg quotes each element of an array. */
export function arrayOf<T> (values: readonly T[], text: (value: T) => string | number): string {
  return `{${values.map(text).join(',')}}`
}
