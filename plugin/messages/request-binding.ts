import { AsyncLocalStorage } from 'node:async_hooks'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { OwnedMessage } from './message.js'

/**
 * Ties the messages that a handler opens to its request. When the handler fails, the messages that it has not begun to
 * produce are failed with its error, so that readers do not wait for them. Returns a function to call with each message
 * that was opened.
 */
export function bindToRequests (app: FastifyInstance): (message: OwnedMessage) => void {
  const storage = new AsyncLocalStorage<OwnedMessage[]>()
  const opened = new WeakMap<FastifyRequest, OwnedMessage[]>()

  function failUnused (request: FastifyRequest, error: unknown): void {
    for (const message of opened.get(request) ?? []) if (!message.isUsed) message.fail(error)
    opened.delete(request)
  }

  // Not earlier, because reading the body leaves the async context of the first hooks
  app.addHook('preHandler', (request, reply, done) => {
    const messages: OwnedMessage[] = []
    opened.set(request, messages)
    storage.run(messages, done)
  })
  app.addHook('onError', (request, reply, error, done) => {
    failUnused(request, error)
    done()
  })
  app.addHook('onResponse', (request, reply, done) => {
    if (reply.statusCode >= 400) failUnused(request, new Error(`the request was answered with ${reply.statusCode}`))
    opened.delete(request)
    done()
  })

  return (message) => { storage.getStore()?.push(message) }
}
