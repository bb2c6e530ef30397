import { arrayOf, createAppender, type Appender, type Refusal } from './appender.js'
import type { ArrayRow, Connection, PooledConnection } from './connection.js'
import { failureKind } from './failures.js'
import type {
  Candidate, Decided, Decision, FramesRead, Inspection, JournalRow, Lease, LockedMessage, Look, MessageState,
  OpenedMessage, ReadState, RowsRead
} from './rows.js'
import { MAX_CANDIDATES, type Scripts } from './statements.js'
import type { MessageStatus } from '../wire/status.js'

/**
 * The tables of messages and committed events. Every method is one transaction on a client of the app's pool. It
 * rejects with pg's own error, or with NotSentError, and does not retry.
 */

export interface Journal {
  /** Runs `work` on one client of the pool: its appends are one transaction each. */
  write<T> (work: (appender: Appender) => Promise<T>): Promise<T>

  /** The rows past `cursor`, in order: at most `rows`, and none after their stored size has passed `bytes`. */
  readPage (messageId: string, cursor: number, rows: number, bytes: number, isRetry: boolean): Promise<RowsRead>
  /**
   * The next `rows` rows as SSE frames, at most `together` of them in one text (`null`: all). Line breaks in event
   * types and payloads stay as they are. A carriage return stands for a row whose payload has 2 KiB or more, or is
   * compressed. `isRetry`: under limits, so that no statement is left waiting for a lock.
   */
  readFrames (
    messageId: string, cursor: number, rows: number, together: number | null, eventNames: boolean, isRetry: boolean
  ): Promise<FramesRead>
  findMessage (messageId: string): Promise<MessageState | null>
  /**
   * Creates the message, or takes it over under a new epoch if `mayContinue`, or if `token` has opened it before.
   * `null`: it may not, or the message belongs to another user. If `isUnsure` holds for its rejection, the answer to
   * COMMIT was lost.
   */
  openMessage (
    messageId: string, userId: string | null, mayContinue: boolean, token: string
  ): Promise<OpenedMessage | null>
  /**
   * Whether a transaction with this token has opened the message, and nobody has since. Waits for that transaction to
   * end.
   */
  wasOpened (messageId: string, token: string): Promise<boolean>
  /**
   * Renews the leases in `used`, as of `agoMs` ago. Answers with the lost ones of all `leases`, each with the reason,
   * and with the used ones whose row is locked. `epoch` 0: a message without a lease.
   */
  heartbeat (
    leases: readonly Lease[], used: readonly Lease[], agoMs: number, handOver: boolean
  ): Promise<{ lost: Map<string, Refusal>, locked: Set<string> }>
  /** A sign of life that is no event. `false`: the lease is lost. */
  touch (lease: Lease): Promise<boolean>
  /** Of messages that are known up to a number each: those that are deleted, have ended, or have newer events. */
  inspect (known: ReadonlyMap<string, number>): Promise<Inspection[]>
  /**
   * Messages that may be without a producer: those without a sign of life for `suspectMs`, some of those that never had
   * a heartbeat and are `unheardMs` old, and those that were handed over.
   */
  lookForDead (suspectMs: number, unheardMs: number, after: string | null): Promise<Look>
  /** The messages whose row nobody holds. */
  findFree (messageIds: readonly string[]): Promise<Set<string>>
  /** Calls `decide` under the message's row lock, and carries out its decision in the same transaction. */
  decide (messageId: string, skipLocked: boolean, decide: (message: LockedMessage) => Decision): Promise<Decided>
  /** Deletes at most `limit` events, or messages without events, that are older than `days`. Answers with how many. */
  deleteOld (what: 'events' | 'messages', days: number, limit: number): Promise<number>
  /**
   * Counts `last_no` where it is null, in the next `limit` messages by id. Answers with the last one's id, and with how
   * many were skipped because somebody holds their row.
   */
  count (after: string, limit: number): Promise<{ last: string | null, skipped: number }>
  /** Whether every message has been counted. */
  isCounted (): Promise<boolean>
  setCounted (): Promise<void>
}

/**
 * The key of the advisory lock that one process at a time holds while it deletes: `retention` in ASCII, cut to 8
 * letters.
 */
const RETENTION_LOCK = 0x726574656e74696fn

/** The journal on this connection. */
export function createJournal (connection: PooledConnection, scripts: Scripts): Journal {
  const appenders = new WeakMap<Connection, Appender>()

  function appenderOf (held: Connection): Appender {
    const known = appenders.get(held)
    if (known !== undefined) return known
    const appender = createAppender(held)
    appenders.set(held, appender)
    return appender
  }

  const read = (isRetry: boolean): Connection['query'] => isRetry ? connection.queryWithLimits : connection.query

  async function carryOut (held: Connection, message: LockedMessage, decision: Decision): Promise<Decided> {
    const { messageId, lastNo } = message
    if (decision === null) return { kind: 'kept' }
    if (decision.kind === 'renew') {
      await held.query('renew', [messageId])
      return { kind: 'kept' }
    }
    if (decision.kind === 'claim') {
      const [row] = await held.query('claim', [messageId])
      return { kind: 'claimed', epoch: Number(row?.[0]), lastNo, message }
    }
    const { status, error, event, fence } = decision
    const endedNo = event.sequenceNo ?? lastNo + 1
    const [row] = await held.query('end', [messageId, status, error, fence ? 1 : 0, endedNo])
    if (event.sequenceNo === null &&
      await held.count('insertEnd', [messageId, endedNo, event.eventType, event.payload]) !== 1) {
      throw new Error('the table discards the event: a trigger of its own, or a rule')
    }
    return { kind: 'ended', epoch: Number(row?.[0]), lastNo: endedNo, message }
  }

  return {
    write: async (work) => await connection.hold(async (held) => await work(appenderOf(held))),

    async readPage (messageId, cursor, rows, bytes, isRetry) {
      const page = await read(isRetry)('readPage', [messageId, cursor, rows, bytes])
      return { rows: page.map(toJournalRow), state: toReadState(page[0]?.[3]) }
    },

    async readFrames (messageId, cursor, rows, together, eventNames, isRetry) {
      const values = [messageId, cursor, rows, eventNames]
      const parts = together === null
        ? await read(isRetry)('readFrames', values)
        : await read(isRetry)('readFramesInParts', [...values, together])
      return {
        parts: parts.filter(([count]) => count !== '0')
          .map(([count, sequenceNo, eventType, text]) => ({
            rows: Number(count),
            sequenceNo: Number(sequenceNo),
            eventType: String(eventType),
            text: String(text)
          })),
        state: toReadState(parts[0]?.[4])
      }
    },

    async findMessage (messageId) {
      const [row] = await connection.query('findMessage', [messageId])
      if (row === undefined) return null
      const [userId, status, createdAt, epoch, endedNo, lastNo, ...last] = row
      return {
        messageId,
        userId,
        status: status as MessageStatus, // the table's check constraint
        createdAt: new Date(Number(createdAt)),
        isLeased: Number(epoch) > 0,
        endedNo: toNumber(endedNo),
        lastNo: toNumber(lastNo),
        last: last[0] == null ? null : toJournalRow([last[0], ...last.slice(1)])
      }
    },

    openMessage: async (messageId, userId, mayContinue, token) =>
      await connection.transaction('select', async (held) => {
        const [opened] = await held.query('openMessage', [messageId, userId, mayContinue, token])
        if (opened === undefined) return null
        const [epoch, lastNo, createdAt, isNew] = opened
        const [newest] = isNew === 't' ? [] : (await held.query('findLatest', [messageId])).flat()
        const latest = toNumber(newest) ?? -1
        return {
          epoch: Number(epoch),
          createdAt: String(createdAt),
          latest,
          lastNo: Math.max(latest, toNumber(lastNo) ?? -1)
        }
      }),

    wasOpened: async (messageId, token) => await connection.transaction('select', async (held) => {
      if (await held.count('makeMessage', [messageId]) === 1) {
        await held.count('deleteMessage', [messageId])
        return false
      }
      const [row] = await held.query('lockOpened', [messageId])
      return row?.[0] === token
    }),

    async heartbeat (leases, used, agoMs, handOver) {
      const [renewed = [], refused = []] = await connection.script(scripts.heartbeat(leases, used, agoMs, handOver))
      const lost = new Map(
        refused.map(([messageId, refusal]) => [String(messageId), refusal as Refusal])) // statements.ts has no others
      const settled = new Set([...renewed.map(([messageId]) => String(messageId)), ...lost.keys()])
      return {
        lost,
        locked: new Set(
          used.map(({ messageId }) => messageId).filter((messageId) => !settled.has(messageId)))
      }
    },

    async touch ({ messageId, epoch }) {
      const touch = async (held: Connection): Promise<number> => await held.count('touch', [messageId, epoch])
      return await connection.transaction('select', touch) === 1
    },

    async inspect (known) {
      const rows = await connection.query('inspect', [
        arrayOf([...known.keys()], (messageId) => messageId), arrayOf([...known.values()], (latest) => latest)
      ])
      return rows.map(([messageId, status, latest, endedNo]) => ({
        messageId: String(messageId),
        status: status as MessageStatus | null, // the table's check constraint
        endedNo: toNumber(endedNo),
        latest: toNumber(latest) ?? -1
      }))
    },

    async lookForDead (suspectMs, unheardMs, after) {
      const rows = await connection.query('lookForDead', [suspectMs, unheardMs, ...after?.split(' ') ?? [null, null]])
      const candidates = new Map<string, Candidate>()
      const places: string[] = []
      let nowMs = 0
      for (const [messageId, now, heartbeatAgeMs, handedOver, ageMs, eventType, payload, newestAgeMs, place] of rows) {
        if (messageId === null) nowMs = Number(now)
        else {
          if (place != null) places.push(place)
          candidates.set(messageId, {
            messageId,
            heartbeatAgeMs: toNumber(heartbeatAgeMs),
            handedOver: handedOver === 't',
            ageMs: Number(ageMs),
            newest: eventType == null ? null : { eventType, payload: String(payload), ageMs: Number(newestAgeMs) }
          })
        }
      }
      return { nowMs, candidates: [...candidates.values()], next: places[MAX_CANDIDATES - 1] ?? null }
    },

    async findFree (messageIds) {
      const [, rows = []] = await unlessLocked(connection.script(scripts.findFree(messageIds)), [])
      return new Set(rows.map(([messageId]) => String(messageId)))
    },

    async decide (messageId, skipLocked, decide) {
      const lock = scripts.lockMessage(messageId, skipLocked)
      const decided = connection.transaction<Decided>(lock, async (held, [, rows, newest]) => {
        const row = rows?.[0]
        if (row === undefined) return { kind: 'locked' }
        const message = toLockedMessage(messageId, row, newest?.[0])
        return await carryOut(held, message, decide(message))
      })
      return skipLocked ? await unlessLocked(decided, { kind: 'locked' }) : await decided
    },

    async deleteOld (what, days, limit) {
      const values = [days, String(RETENTION_LOCK), limit]
      if (what === 'events') return await connection.count('deleteEvents', values)
      return await connection.transaction('select', async (held) => {
        const old = await held.query('lockOld', values)
        if (old.length === 0) return 0
        return await held.count('deleteMessages', [days, arrayOf(old, ([messageId]) => String(messageId))])
      })
    },

    async count (after, limit) {
      const [row] = await connection.query('countMessages', [after, limit])
      return { last: row?.[0] ?? null, skipped: Number(row?.[1]) - Number(row?.[2]) }
    },

    isCounted: async () => (await connection.query('isCounted', [])).every(([counted]) => counted === 't'),
    setCounted: async () => { await connection.count('setCounted', []) }
  }
}

function toLockedMessage (messageId: string, row: ArrayRow, newestRow: ArrayRow | undefined): LockedMessage {
  const [
    status, epoch, lastNo, endedNo, heartbeatAgeMs, touchedAgeMs, userId, handedOver, error, openToken, createdAt
  ] = row
  const newest = newestRow === undefined ? null : { ...toJournalRow(newestRow), ageMs: Number(newestRow[3]) }
  return {
    messageId,
    userId: userId ?? null,
    status: status as MessageStatus, // the table's check constraint
    error: error ?? null,
    epoch: Number(epoch),
    endedNo: toNumber(endedNo),
    lastNo: Math.max(toNumber(lastNo) ?? -1, newest?.sequenceNo ?? -1),
    openToken: openToken ?? null,
    createdAt: String(createdAt),
    handedOver: handedOver === 't',
    heartbeatAgeMs: toNumber(heartbeatAgeMs),
    touchedAgeMs: Number(touchedAgeMs),
    newest
  }
}

/** `otherwise`: when somebody holds a lock on a table or a row. */
async function unlessLocked<T> (work: Promise<T>, otherwise: T): Promise<T> {
  return await work.catch((error: unknown) => {
    if (failureKind(error) === 'locked') return otherwise
    throw error
  })
}

function toJournalRow ([sequenceNo, eventType, payload]: ArrayRow): JournalRow {
  return { sequenceNo: Number(sequenceNo), eventType: String(eventType), payload: String(payload) }
}

function toNumber (text: string | null | undefined): number | null {
  return text == null || text === '' ? null : Number(text)
}

/** As `state` in statements.ts writes it. */
function toReadState (text: string | null | undefined): ReadState | null {
  if (text == null) return null
  const [status, epoch, endedNo] = text.split(' ')
  return {
    status: status as MessageStatus, // the table's trigger
    isLeased: Number(epoch) > 0,
    endedNo: toNumber(endedNo)
  }
}
