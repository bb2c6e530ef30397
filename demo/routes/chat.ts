import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { errors, type Message } from '../../plugin/index.js'
import { ensureSession } from '../session.js'
import type { Answering } from '../work/answering.js'
import { MessageId } from './schemas.js'

const ChatBody = Type.Object({
  prompt: Type.String({ pattern: '\\S', maxLength: 8000, description: 'What to answer' }),
  messageId: Type.Optional(Type.String({
    ...MessageId,
    description: 'Chosen by the client, so that a request whose answer never arrived can be resumed or sent again'
  }))
}, { additionalProperties: false })

export interface ChatOptions {
  answering: Answering
}

/**
 * `POST /chat` starts an answer and streams it. The answer goes on when the reader leaves: the rest is at `Location`.
 * The same request sent again, with its `messageId`, never runs the answerer twice: it is sent on to that address.
 */
export const chatRoutes: FastifyPluginAsyncTypebox<ChatOptions> = async (app, { answering }) => {
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
    try {
      return reply.streamMessage(message, await answering.begin(message, prompt))
    } catch (error) {
      await message.fail(error) // the client may ask for it by its id
      throw error
    }
  })
}
