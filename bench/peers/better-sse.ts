import { createChannel, createSession, type Channel } from 'better-sse'
import Fastify from 'fastify'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { LISTEN } from '../harness/app-settings.js'
import { createQuietLog } from '../harness/quiet-log.js'
import { serveRuntime } from '../harness/runtime.js'
import { keyOf, payloadOf } from '../harness/workload.js'

/**
 * better-sse: a channel a message, in the memory of one process. A broadcast does not say when the sockets have had enough, so all that a
 * producer can do is to let them have a turn.
 */
serveRuntime(async () => {
  const { log, complaints } = createQuietLog()
  const app = Fastify({ loggerInstance: log, forceCloseConnections: true })
  const channels = new Map<string, Channel>()

  app.get<{ Params: { messageId: string } }>('/api/messages/:messageId/events', async (request, reply) => {
    const { messageId } = request.params
    const channel = channels.get(messageId) ?? createChannel()
    channels.set(messageId, channel)
    reply.hijack()
    channel.register(await createSession(request.raw, reply.raw))
  })
  const url = await app.listen({ ...LISTEN, port: 0 })

  return {
    url,
    complaints,
    openWriter: async (messageId) => {
      const key = keyOf(messageId)
      return async (n) => {
        channels.get(messageId)?.broadcast(payloadOf(key, n), 'message', { eventId: String(n) })
        await nextTurn()
      }
    },
    close: async () => { await app.close() }
  }
})
