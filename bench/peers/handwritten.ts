import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify from 'fastify'
import type { ServerResponse } from 'node:http'
import { LISTEN, POOL_SIZE } from '../harness/app-settings.js'
import { createQuietLog } from '../harness/quiet-log.js'
import { serveRuntime } from '../harness/runtime.js'
import { END_TYPE, EVENT_TYPE, keyOf, payloadOf, USER_ID } from '../harness/workload.js'

/**
 * The handler that teams write today: one INSERT and then one PUBLISH for each event; for each viewer a Redis connection of its
 * own, the whole backlog in one read, and then what is published.
 */

interface Event {
  sequence_no: number
  payload: { type: string }
}

/** False at the end of the stream. */
function write (response: ServerResponse, { sequence_no: id, payload }: Event): boolean {
  response.write(`data: ${JSON.stringify(payload)}\nid: ${id}\n\n`)
  return payload.type !== END_TYPE
}

serveRuntime(async ({ databaseUrl, redisUrl, port = 0 }) => {
  const { log, complaints } = createQuietLog()
  const app = Fastify({ loggerInstance: log, forceCloseConnections: true })
  await app.register(postgres, { connectionString: databaseUrl, max: POOL_SIZE })
  await app.register(redis, { url: redisUrl })

  app.get<{ Params: { messageId: string } }>('/api/messages/:messageId/events', async (request, reply) => {
    const { messageId } = request.params
    const message = await app.pg.query('SELECT user_id FROM messages WHERE message_id = $1', [messageId])
    if (message.rows[0]?.user_id !== USER_ID) return await reply.code(404).send()

    reply.hijack()
    const { raw } = reply
    raw.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    raw.write(': connected\n\n')
    const subscriber = app.redis.duplicate()
    subscriber.on('error', () => {})
    raw.on('close', () => { subscriber.disconnect() })

    let cursor = Number(request.headers['last-event-id'] ?? -1)
    let early: Event[] | null = []
    function show (event: Event): void {
      if (event.sequence_no <= cursor) return
      cursor = event.sequence_no
      if (!write(raw, event)) raw.end()
    }
    subscriber.on('message', (_channel, text) => {
      const event: Event = JSON.parse(text)
      if (early === null) show(event)
      else early.push(event)
    })
    try {
      await subscriber.subscribe(`channel:${messageId}`)
    } catch {
      return // the viewer has left
    }

    const backlog = await app.pg.query<Event>(
      'SELECT sequence_no, payload FROM message_events WHERE message_id = $1 AND sequence_no > $2 ORDER BY sequence_no', [messageId, cursor])
    for (const event of [...backlog.rows, ...early]) show(event)
    early = null
  })
  const url = await app.listen({ ...LISTEN, port })

  return {
    url,
    complaints,
    async openWriter (messageId) {
      await app.pg.query('INSERT INTO messages (message_id, user_id) VALUES ($1, $2)', [messageId, USER_ID])
      const key = keyOf(messageId)
      return async (n) => {
        const payload = payloadOf(key, n)
        await app.pg.query('INSERT INTO message_events (message_id, sequence_no, event_type, payload) VALUES ($1, $2, $3, $4)', [messageId, n, EVENT_TYPE, payload])
        await app.redis.publish(`channel:${messageId}`, JSON.stringify({ sequence_no: n, event_type: EVENT_TYPE, payload }))
      }
    },
    close: async () => { await app.close() }
  }
})
