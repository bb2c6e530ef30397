/** What Postgres takes by a client that does nothing else: prepared INSERTs, of one row or of many. */
import pg from 'pg'
import { createRuntimeMethods } from '../harness/runtime.js'
import { serve } from '../harness/serve.js'
import { EVENT_TYPE, keyOf, payloadOf, USER_ID } from '../harness/workload.js'

const BATCH_ROWS = 1_000

const INSERT_ONE = {
  name: 'one',
  text: 'insert into message_events (message_id, sequence_no, event_type, payload) values ($1, $2, $3, $4)'
}
const INSERT_BATCH = {
  name: 'batch',
  text: `insert into message_events (message_id, sequence_no, event_type, payload)
    select * from unnest($1::uuid[], $2::int[], $3::text[], $4::json[])`
}

let connectionString = ''

async function connect (): Promise<pg.Client> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  return client
}

const { append, start, close } = createRuntimeMethods(async ({ databaseUrl }) => {
  connectionString = databaseUrl
  const client = await connect()
  return {
    url: '',
    async openWriter (messageId) {
      await client.query('insert into messages (message_id, user_id) values ($1, $2)', [messageId, USER_ID])
      const key = keyOf(messageId)
      return async (n) => {
        await client.query({ ...INSERT_ONE, values: [messageId, n, EVENT_TYPE, JSON.stringify(payloadOf(key, n))] })
      }
    },
    close: async () => { await client.end() }
  }
})

/** Events of these messages, which must be there, in turn; in batches, over so many connections at once. */
async function insertBatches (messageIds: string[], connections: number, durationMs: number): Promise<{ events: number, elapsedMs: number }> {
  const clients = await Promise.all(Array.from({ length: connections }, connect))
  let next = 0
  let events = 0
  const startedAt = performance.now()

  async function insert (client: pg.Client): Promise<void> {
    while (performance.now() < startedAt + durationMs) {
      const ids: string[] = []
      const numbers: number[] = []
      const types: string[] = []
      const payloads: string[] = []
      for (const until = next + BATCH_ROWS; next < until; next++) {
        const messageId = messageIds[next % messageIds.length] ?? ''
        const n = Math.floor(next / messageIds.length)
        ids.push(messageId)
        numbers.push(n)
        types.push(EVENT_TYPE)
        payloads.push(JSON.stringify(payloadOf(keyOf(messageId), n)))
      }
      await client.query({ ...INSERT_BATCH, values: [ids, numbers, types, payloads] })
      events += ids.length
    }
  }

  await Promise.all(clients.map(insert))
  const elapsedMs = performance.now() - startedAt
  await Promise.all(clients.map(async (client) => { await client.end() }))
  return { events, elapsedMs }
}

const methods = { append, start, insertBatches }
export type InsertMethods = typeof methods
serve(methods, close)
