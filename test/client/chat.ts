import type { FastifyRequest } from 'fastify'
import type { Test } from 'tap'
import type { Produce } from '../../plugin/index.js'
import type { EventPayload, Health } from '../../client/index.js'
import { startApp, type TestApp, type TestAppOptions } from '../helper/app.js'
import { createWatcher } from '../helper/watcher.js'

export interface ChatBody {
  prompt?: string
  messageId: string
}

export interface Chat extends TestApp {
  /** The POST's address. */
  chat: string
  /** The messages that a producer ran for, in order. */
  produced: string[]
  /** The POSTs that reached the server, in order. */
  asked: ChatBody[]
  /** The messages of repeated POSTs, in order. */
  refused: string[]
}

export interface ChatOptions extends TestAppOptions {
  produce: Produce
  /** What a repeated POST gets: a redirect to the message, or the journal's 409. */
  repeated?: 303 | 409
  /** Awaited before a POST is answered. */
  before?: (request: FastifyRequest) => unknown
}

/** The user of these tests' requests. */
export const headers = { 'x-user': 'ada' }

/** Nobody waits here for what nobody waits for. */
export const hurried = { headers, backoffMs: [0] }

/** An app as in the README: POST /api/chat answers with a message's stream, once an id. */
export async function startChat (t: Test, { produce, repeated = 409, before, ...options }: ChatOptions): Promise<Chat> {
  const produced: string[] = []
  const asked: ChatBody[] = []
  const refused: string[] = []
  const app = await startApp(t, {
    retryMs: 1,
    extend (app) {
      app.post<{ Body: ChatBody }>('/api/chat', async (request, reply) => {
        const { messageId } = request.body
        asked.push(request.body)
        await before?.(request)
        try {
          const message = await app.journal.openMessage({ userId: 'ada', messageId, ifExists: 'refuse' })
          produced.push(messageId)
          return reply.streamMessage(message, produce)
        } catch (error) {
          refused.push(messageId)
          if (repeated === 409) throw error
          return reply.redirect(`/api/messages/${messageId}/events`, 303)
        }
      })
    },
    ...options
  })
  return { ...app, chat: `${app.url}/api/chat`, produced, asked, refused }
}

/** What a call of the client was told. */
export interface Seen {
  events: Array<[payload: EventPayload, id: string | null]>
  health: Health[]
  onEvent: (payload: EventPayload, id: string | null) => void
  onHealth: (health: Health) => void
  readonly ids: Array<string | null>
  /** Resolves once `condition` holds; it is looked at after each event and change. */
  until: (condition: () => boolean) => Promise<void>
}

export function watch (): Seen {
  const { look, until } = createWatcher()
  const seen: Seen = {
    events: [],
    health: [],
    onEvent (payload, id) {
      seen.events.push([payload, id])
      look()
    },
    onHealth (health) {
      seen.health.push(health)
      look()
    },
    get ids () { return seen.events.map(([, id]) => id) },
    until
  }
  return seen
}
