import redis from '@fastify/redis'
import Fastify from 'fastify'
import { createResumableStreamContext, type Publisher, type Subscriber } from 'resumable-stream/generic'
import { LISTEN } from '../harness/app-settings.js'
import { createQuietLog } from '../harness/quiet-log.js'
import { serveRuntime } from '../harness/runtime.js'
import { frameOf, keyOf } from '../harness/workload.js'

/**
 * resumable-stream: the producer's process keeps the stream's text and sends it, over Redis, to each viewer that asks. The first
 * chunk is a comment, so that a response begins before there is an event.
 */
serveRuntime(async ({ redisUrl }) => {
  const { log, complaints } = createQuietLog()
  const app = Fastify({ loggerInstance: log, forceCloseConnections: true })
  await app.register(redis, { url: redisUrl })
  const connection = app.redis.duplicate()
  const subscribed = new Map<string, (message: string) => void>()
  connection.on('message', (channel, message) => { subscribed.get(channel)?.(message) })
  const subscriber: Subscriber = {
    connect: async () => {},
    async subscribe (channel, callback) {
      subscribed.set(channel, callback)
      await connection.subscribe(channel)
    },
    async unsubscribe (channel) {
      subscribed.delete(channel)
      return await connection.unsubscribe(channel)
    }
  }
  const publisher: Publisher = {
    connect: async () => {},
    publish: async (channel, message) => await app.redis.publish(channel, message),
    set: async (key, value) => await app.redis.set(key, value),
    get: async (key) => await app.redis.get(key),
    incr: async (key) => await app.redis.incr(key)
  }
  const context = createResumableStreamContext({ waitUntil: null, subscriber, publisher })

  app.get<{ Params: { messageId: string } }>('/api/messages/:messageId/events', async (request, reply) => {
    const stream = await context.resumeExistingStream(request.params.messageId)
    if (stream === undefined || stream === null) return await reply.code(404).send()
    return reply.header('content-type', 'text/event-stream').header('cache-control', 'no-store').send(stream)
  })
  const url = await app.listen({ ...LISTEN, port: 0 })

  return {
    url,
    complaints,
    async openWriter (messageId) {
      const key = keyOf(messageId)
      const { readable, writable } = new TransformStream<string, string>()
      const source = writable.getWriter()
      const stream = await context.createNewResumableStream(messageId, () => readable)
      stream?.pipeTo(new WritableStream())
      await source.write(': connected\n\n')
      return async (n) => { await source.write(frameOf('plain', key, n)) }
    },
    async close () {
      connection.disconnect()
      await app.close()
    }
  }
})
