import { randomUUID } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type {} from '@fastify/postgres'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import type { Connection } from './sse.js'

/** The tables, as anyone with a connection of their own sees them. */

export async function ask<Row extends pg.QueryResultRow> (databaseUrl: string, sql: string, values: unknown[] = []): Promise<Row[]> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    return (await client.query<Row>(sql, values)).rows
  } finally {
    await client.end()
  }
}

export interface EventRow {
  sequenceNo: number
  eventType: string
  payload: Record<string, unknown>
}

export async function eventsOf (databaseUrl: string, messageId: string): Promise<EventRow[]> {
  return await ask<EventRow & pg.QueryResultRow>(databaseUrl, `
    select sequence_no as "sequenceNo", event_type as "eventType", payload
    from message_events where message_id = $1 order by sequence_no`, [messageId])
}

export async function statusOf (databaseUrl: string, messageId: string): Promise<string | undefined> {
  const [row] = await ask<{ status: string }>(databaseUrl, 'select status from messages where message_id = $1', [messageId])
  return row?.status
}

/** A message that another program made: no lease, no epoch. */
export async function makeMessage (databaseUrl: string, { messageId = randomUUID() as string, userId = 'ada' as string | null, status = 'streaming' } = {}): Promise<string> {
  await ask(databaseUrl, 'insert into messages (message_id, user_id, status) values ($1, $2, $3)', [messageId, userId, status])
  return messageId
}

/** The same in an app's database. */
export async function addMessage ({ pg }: Pick<FastifyInstance, 'pg'>, userId = 'ada'): Promise<string> {
  const messageId = randomUUID()
  await pg.query('insert into messages (message_id, user_id) values ($1, $2)', [messageId, userId])
  return messageId
}

/** `count` events from `first` on, past the library: nothing is published. */
export async function insertEvents (databaseUrl: string, messageId: string, { first = 0, count = 1, bytes = 8, text = 'x' } = {}): Promise<void> {
  await ask(databaseUrl, `
    insert into message_events (message_id, sequence_no, event_type, payload)
    select $1, no, 'answer', json_build_object('type', 'answer', 'answer', repeat($5, $4::int / octet_length($5)))
    from generate_series($2::int, $2::int + $3::int - 1) no`, [messageId, first, count, bytes, text])
}

const LOOK_AGAIN_MS = 15

/** For what no event tells of: resolves once `condition` holds. The test's own timeout is the bound. */
export async function eventually (condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!await condition()) await delay(LOOK_AGAIN_MS)
}

/** For `until`: at least `count` events have come. */
export function has (count: number): (connection: Connection) => boolean {
  return ({ events }) => events.length >= count
}

/** The ids of a reader that has everything from 0 on, exactly once and in order. */
export function upTo (count: number): string[] {
  return Array.from({ length: count }, (_, sequenceNo) => String(sequenceNo))
}

/** When each event arrived, by its id, on `performance.now()`'s clock. To be called before the events come. */
export function arrivals ({ response, events }: Connection): Map<string, number> {
  const at = new Map<string, number>()
  let seen = events.length
  response.on('data', () => {
    for (; seen < events.length; seen++) at.set(events[seen]?.id ?? '', performance.now())
  })
  return at
}

/** Records events of the app's own numbers at a steady rate until it is stopped. */
export function recordSteadily (recordEvent: (messageId: string, sequenceNo: number, eventType: string, payload: object) => Promise<boolean>, messageId: string, everyMs: number) {
  const settled: Array<Promise<boolean>> = []
  const committedAt = new Map<string, number>()
  const timer = setInterval(() => {
    const sequenceNo = settled.length
    const recorded = recordEvent(messageId, sequenceNo, 'answer', { type: 'answer', answer: `token ${sequenceNo}` })
    settled.push(recorded.then((committed) => {
      if (committed) committedAt.set(String(sequenceNo), performance.now())
      return committed
    }))
  }, everyMs)
  return {
    committedAt,
    get count () { return settled.length },
    /** Resolves with what each call resolved with. */
    async stop (): Promise<boolean[]> {
      clearInterval(timer)
      return await Promise.all(settled)
    }
  }
}

/** The longest time from a commit to its arrival, in ms. */
export function longestDelay (committedAt: ReadonlyMap<string, number>, arrivedAt: ReadonlyMap<string, number>): number {
  return Math.round(Math.max(0, ...[...committedAt].map(([id, at]) => (arrivedAt.get(id) ?? Infinity) - at)))
}
