import { arrayOf, createAppender, toRefusal, type Appender, type Refusal } from './appender.js'
import type { ArrayRow, PooledConnection } from './connection.js'
import type { LockMessages } from './statements.js'

/**
 * The table of committed events. Every method is one statement (`openMessage` two, `finish` one behind a lock) on a client that the app's pool
 * lends for just that long, rejects with pg's own error, and never retries.
 */

export type MessageStatus = 'streaming' | 'complete' | 'failed' | 'stopped'

export interface JournalRow {
  sequenceNo: number
  eventType: string
  payload: string
}

/** The frames of some rows, one behind the other. */
export interface JournalFrames {
  rows: number
  /** Of the last of them. */
  sequenceNo: number
  eventType: string
  text: string
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

/** Ends a message on behalf of a producer that is gone, told to stop, or did not say how it ended. */
export interface Finish {
  messageId: string
  status: MessageStatus
  error: string | null
  /** The terminal event. */
  eventType: string
  payload: string
  /** Nothing is done unless the message has this status … */
  from: MessageStatus
  /** … and, when set, no heartbeat for this long, in ms … */
  idleMs: number | null
  /** … and, when set, this is its newest number. */
  latest: number | null
}

/** What a reader should know of a message that has something new. */
export interface Inspection {
  messageId: string
  /** `null`: the message was deleted. */
  status: MessageStatus | null
  /** The newest number; -1 when there are no events. */
  latest: number
  /** Its producer has given no heartbeat for too long. */
  stale: boolean
}

export interface Journal extends Appender {
  /**
   * Runs `work` in one transaction in which nobody else writes to these messages. `latest` has the newest number of
   * each of them that has rows, and stays true until the end.
   */
  exclusively<T> (messageIds: readonly string[], work: (appender: Appender, latest: Map<string, number>) => Promise<T>): Promise<T>

  /** The rows past `cursor` in order: at most `rows`, and no more once their stored size has passed `bytes`. */
  readPage (messageId: string, cursor: number, rows: number, bytes: number): Promise<JournalRow[]>
  /**
   * The next `rows` rows as SSE frames, all or at most `together` in one text, if no event type and no payload has a
   * line break; a carriage return stands for one whose payload has 2 KiB or more, or is compressed.
   */
  readFrames (messageId: string, cursor: number, rows: number, together: number | null, eventNames: boolean): Promise<JournalFrames[]>
  findMessage (messageId: string): Promise<MessageState | null>
  /** Makes the message, or takes it over under a new epoch if it may; `null`: it may not, or it belongs to another user. */
  openMessage (messageId: string, userId: string | null, mayContinue: boolean): Promise<OpenedMessage | null>
  /** Sets the leases' last heartbeat to so many ms ago; answers with the messages whose leases are lost, and why. */
  heartbeat (leases: readonly Lease[], agoMs: number): Promise<Map<string, Refusal>>
  /**
   * Of the messages that are known up to a number each: those that are gone, finished, longer, or without a living
   * producer; and of all others, some that are without a living producer.
   */
  inspect (known: ReadonlyMap<string, number>, idleMs: number): Promise<Inspection[]>
  /**
   * The terminal event, behind all that was under way, and the status in one transaction, under a new epoch. `null`: a
   * condition did not hold.
   */
  finish (finish: Finish): Promise<{ sequenceNo: number, epoch: number } | null>
  /** Deletes at most `limit` events, or messages that have none left, older than `days`; answers with how many. */
  deleteOld (what: 'events' | 'messages', days: number, limit: number): Promise<number>
}

export interface Lease {
  messageId: string
  epoch: number
}

/** The key of the advisory lock that one process at a time holds while it deletes: `retention` in ASCII, cut to 8 letters. */
const RETENTION_LOCK = 0x726574656e74696fn

export function createJournal (connection: PooledConnection, lockMessages: LockMessages): Journal {
  return {
    ...createAppender(connection),

    exclusively: async (messageIds, work) => await connection.transaction(lockMessages(messageIds), async (held, rows) => {
      return await work(createAppender(held), new Map(rows.map(([messageId, latest]) => [String(messageId), Number(latest)])))
    }),

    async readPage (messageId, cursor, rows, bytes) {
      return (await connection.query('readPage', [messageId, cursor, rows, bytes])).map(toJournalRow)
    },

    async readFrames (messageId, cursor, rows, together, eventNames) {
      const values = [messageId, cursor, rows, eventNames]
      const parts = together === null
        ? await connection.query('readFrames', values)
        : await connection.query('readFramesInParts', [...values, together])
      return parts.map(([count, sequenceNo, eventType, text]) => ({ rows: Number(count), sequenceNo: Number(sequenceNo), eventType: String(eventType), text: String(text) }))
    },

    async findMessage (messageId) {
      const [row] = await connection.query('findMessage', [messageId])
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

    async openMessage (messageId, userId, mayContinue) {
      const [opened] = await connection.query('openMessage', [messageId, userId, mayContinue])
      if (opened === undefined) return null
      const [newest] = (await connection.query('findLatest', [messageId])).flat()
      return { epoch: Number(opened[0]), latest: newest == null ? -1 : Number(newest) }
    },

    async heartbeat (leases, agoMs) {
      const rows = await connection.query('heartbeat', [
        arrayOf(leases, (lease) => lease.messageId), arrayOf(leases, (lease) => lease.epoch), agoMs
      ])
      return new Map(rows.map(([messageId, refusal]) => [String(messageId), toRefusal(refusal)]))
    },

    async inspect (known, idleMs) {
      const rows = await connection.query('inspect', [
        arrayOf([...known.keys()], (messageId) => messageId), arrayOf([...known.values()], (latest) => latest), idleMs
      ])
      return rows.map(([messageId, status, latest, stale]) => ({
        messageId: String(messageId),
        status: status as MessageStatus | null, // the table's check constraint
        latest: Number(latest ?? -1),
        stale: stale === 't'
      }))
    },

    finish: async ({ messageId, status, error, from, idleMs, latest, eventType, payload }) => await connection.transaction(lockMessages([messageId]), async (held) => {
      const [row] = await held.query('finish', [messageId, status, error, from, idleMs, latest, eventType, payload])
      return row === undefined ? null : { sequenceNo: Number(row[0]), epoch: Number(row[1]) }
    }),

    async deleteOld (what, days, limit) {
      return await connection.count(what === 'events' ? 'deleteEvents' : 'deleteMessages', [days, String(RETENTION_LOCK), limit])
    }
  }
}

function toJournalRow ([sequenceNo, eventType, payload]: ArrayRow): JournalRow {
  return { sequenceNo: Number(sequenceNo), eventType: String(eventType), payload: String(payload) }
}
