import type { FastifyInstance } from 'fastify'
import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import type { Message } from '../../plugin/index.js'
import type { LogLine } from './app.js'
import { ask } from './journal.js'

/** Runs SQL somewhere. */
type Query = (sql: string, values: unknown[]) => Promise<pg.QueryResultRow[]>

interface Answer {
  messageId: string
  eventType: string
  recorded: boolean
}

/**
 * What `record` and `recordEvent` answered under a fault, to be compared with the table: each `true` has its row, each `false` has
 * none, unless the log says `outcome unknown`. Every event has a type of its own.
 */
export interface Answers {
  readonly given: readonly Answer[]
  /** The types of the events whose outcome was logged as unknown. */
  unknown (): Set<string>
  /** Records the next event. */
  record (message: Pick<Message, 'messageId' | 'record'>): Promise<boolean>
  /** The same with a number of the app's own. */
  recordEvent (app: FastifyInstance, messageId: string): Promise<boolean>
  /** The answers that the table does not bear out. `query`: the connection that looks, by default a new one. */
  wrong (query?: Query): Promise<string[]>
}

/** `lines`: the log of the app that answers. */
export function collectAnswers (databaseUrl: string, lines: readonly LogLine[]): Answers {
  const given: Answer[] = []
  const numbers = new Map<string, number>()
  let count = 0

  async function note (messageId: string, record: (eventType: string, payload: object) => Promise<boolean>): Promise<boolean> {
    const no = count++
    const eventType = `answer ${no}`
    const recorded = await record(eventType, { type: 'answer', no })
    given.push({ messageId, eventType, recorded })
    return recorded
  }

  const unknown = () => new Set(lines.filter(({ msg }) => msg.includes('outcome unknown')).map(({ eventType }) => String(eventType)))

  return {
    given,
    unknown,
    record: async (message) => await note(message.messageId, async (eventType, payload) => await message.record(eventType, payload)),
    async recordEvent (app, messageId) {
      const sequenceNo = numbers.get(messageId) ?? 0
      numbers.set(messageId, sequenceNo + 1)
      return await note(messageId, async (eventType, payload) => await app.journal.recordEvent(messageId, sequenceNo, eventType, payload))
    },
    async wrong (query = async (sql, values) => await ask(databaseUrl, sql, values)) {
      const answers = [...given] // those that come while the table is read are compared the next time
      const excused = unknown()
      const rows = await query(
        'select event_type, count(*)::int as rows from message_events where message_id = any ($1) group by event_type',
        [[...new Set(answers.map(({ messageId }) => messageId))]])
      const found = new Map(rows.map((row) => [String(row.event_type), Number(row.rows)]))
      return answers
        .filter(({ eventType, recorded }) => (found.get(eventType) ?? 0) !== Number(recorded) && (recorded || !excused.has(eventType)))
        .map(({ eventType, recorded }) => `${eventType}: ${recorded}, and ${found.get(eventType) ?? 0} rows`)
    }
  }
}

/** Calls `record` again and again, with `width` calls in flight, until the function that is returned is called, which resolves with the last answer. */
export function keepRecording (record: () => Promise<boolean>, width = 5, pauseMs = 20): () => Promise<void> {
  const stopping = new AbortController()
  const writers = Array.from({ length: width }, async () => {
    while (!stopping.signal.aborted) {
      await record()
      await delay(pauseMs)
    }
  })
  return async () => {
    stopping.abort()
    await Promise.all(writers)
  }
}
