import type { Pool, QueryArrayConfig } from 'pg'
import type { JournalStatements } from './statements.js'

/**
 * The table of committed events. Every method is one statement (`openMessage` two) on a client that the app's pool
 * lends for just that long, rejects with pg's own error, and never retries.
 */

export type MessageStatus = 'streaming' | 'complete' | 'failed' | 'stopped'

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

export interface JournalRow {
  sequenceNo: number
  eventType: string
  payload: string
}

export interface Message {
  messageId: string
  userId: string | null
  status: MessageStatus
  createdAt: Date
}

/** A message and where its journal ends: `last` is `null` while there are no events. */
export interface MessageState extends Message {
  last: JournalRow | null
}

export interface OpenedMessage {
  epoch: number
  /** The number of the message's newest event; -1 when it has none. */
  latest: number
}

export interface Journal {
  /**
   * Commits all events of the batch that are not refused, in one transaction, and answers with those that are.
   * Rejects with `unique_violation` when a number is taken; then nothing of the batch is written.
   */
  append (events: readonly NewEvent[]): Promise<Refusal[]>
  /** The rows that stand at the events' places, and the newest number of each of the events' messages that has rows. */
  findTaken (events: readonly NewEvent[]): Promise<{ taken: TakenRow[], latest: Map<string, number> }>
  /** The rows past `cursor` in order: at most `rows`, and no more once their stored size has passed `bytes`. */
  readPage (messageId: string, cursor: number, rows: number, bytes: number): Promise<JournalRow[]>
  findMessage (messageId: string): Promise<MessageState | null>
  /** Makes the message or takes it over under a new epoch; `null`: it belongs to another user. */
  openMessage (messageId: string, userId: string | null): Promise<OpenedMessage | null>
}

type Value = string | null
type ArrayRow = [Value, ...Value[]]

/** Every column arrives as the text that Postgres sent: a payload is never parsed on its way to a reader. */
const asText = { getTypeParser: () => (value: string) => value }

export function createJournal (pool: Pool, statements: JournalStatements): Journal {
  async function query (name: keyof JournalStatements, values: unknown[]): Promise<ArrayRow[]> {
    const { text } = statements[name]
    const config: QueryArrayConfig = { name: statements[name].name, text, values, rowMode: 'array', types: asText }
    const { rows } = await pool.query<ArrayRow>(config)
    return rows
  }

  return {
    async append (events) {
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
      const rows = await query(finishes ? 'appendAndFinish' : 'append', values)
      return rows.map(([index, epoch]) => ({ index: Number(index) - 1, reason: epoch === null ? 'missing' : 'fenced' }))
    },

    async findTaken (events) {
      const rows = await query('findTaken', [
        arrayOf(events, (event) => event.messageId),
        arrayOf(events, (event) => event.sequenceNo)
      ])
      const taken: TakenRow[] = []
      const latest = new Map<string, number>()
      for (const [messageId, sequenceNo, eventType, payload, newest] of rows) {
        if (messageId === null) continue
        latest.set(messageId, Number(newest))
        if (eventType != null && payload != null) taken.push({ messageId, sequenceNo: Number(sequenceNo), eventType, payload })
      }
      return { taken, latest }
    },

    async readPage (messageId, cursor, rows, bytes) {
      return (await query('readPage', [messageId, cursor, rows, bytes])).map(toJournalRow)
    },

    async findMessage (messageId) {
      const [row] = await query('findMessage', [messageId])
      if (row === undefined) return null
      const [userId, status, createdAt, ...last] = row
      return {
        messageId,
        userId,
        status: status as MessageStatus, // the table's check constraint
        createdAt: new Date(Number(createdAt)),
        last: last[0] == null ? null : toJournalRow([last[0], ...last.slice(1)])
      }
    },

    async openMessage (messageId, userId) {
      const [opened] = await query('openMessage', [messageId, userId])
      if (opened === undefined) return null
      const [newest] = await query('findLatest', [messageId])
      return { epoch: Number(opened[0]), latest: Number(newest?.[0] ?? -1) }
    }
  }
}

function toJournalRow ([sequenceNo, eventType, payload]: ArrayRow): JournalRow {
  return { sequenceNo: Number(sequenceNo), eventType: eventType ?? '', payload: payload ?? '' }
}

/** A Postgres array literal of values that need no quoting (UUIDs, numbers, NULL): pg quotes each element of an array. */
function arrayOf<T> (values: readonly T[], text: (value: T) => string | number): string {
  return `{${values.map(text).join(',')}}`
}
