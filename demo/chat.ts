import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { errors, type Message } from '../plugin/index.js'
import type { Answerer } from './answers/answerer.js'
import { ensureSession } from './session.js'

const ChatBody = Type.Object({
  prompt: Type.String({ pattern: '\\S', maxLength: 8000, description: 'What to answer' }),
  messageId: Type.Optional(Type.String({
    format: 'uuid',
    description: 'Chosen by the client, so that a request whose answer never arrived can be resumed or sent again'
  }))
}, { additionalProperties: false })

export interface ChatOptions {
  answer: Answerer
}

/**
 * `POST /chat` starts an answer and streams it. The answer goes on when the reader leaves: the rest is at `Location`.
 * The same request sent again, with its `messageId`, never runs the answerer twice: it is sent on to that address.
 */
export const chatRoutes: FastifyPluginAsyncTypebox<ChatOptions> = async (app, { answer }) => {
  app.post('/chat', { schema: { body: ChatBody } }, async (request, reply) => {
    const { prompt, messageId } = request.body
    const userId = ensureSession(request, reply)

    let message: Message
    try {
      message = await app.journal.openMessage({ userId, ifExists: 'refuse', ...messageId !== undefined && { messageId } })
    } catch (error) {
      if (!(error instanceof errors.MessageExistsError)) throw error
      return reply.redirect(`${app.prefix}/messages/${messageId}/events`, 303)
    }
    return reply.streamMessage(message, async (message) => {
      for await (const token of answer(prompt, message.signal)) {
        const committed = await message.record('answer', { type: 'answer', answer: token })
        // An answer with a hole in it is worse than one that says it failed.
        if (!committed && !message.signal.aborted) throw new Error('An event of the answer could not be recorded')
      }
    })
  })
}
