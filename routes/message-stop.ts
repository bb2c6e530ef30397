import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Access } from './access.js'
import { DatabaseUnavailableError, InvalidMessageIdError } from '../plugin/errors.js'
import { canonicalMessageId } from '../plugin/wire/names.js'
import { refuseForNow } from './overload.js'
import { causeOf } from '../plugin/postgres/failures.js'
import type { Stopper } from '../plugin/messages/stop.js'
import { ErrorResponse, MessageParams } from './schemas.js'

/** What the stop route needs. */
export interface MessageStopOptions {
  access: Access
  stopper: Stopper
}

const schema = {
  summary: 'Stops a message\'s producer, on whatever node it runs; one that has ended is left as it is',
  params: MessageParams,
  response: {
    202: { description: 'The message does not stream any more', type: 'null' },
    400: ErrorResponse,
    401: ErrorResponse,
    404: ErrorResponse,
    503: ErrorResponse
  }
} as const

/** The stop route. A stop ends the message durably for all its readers. Repeating it is harmless. */
export const messageStop: FastifyPluginAsyncTypebox<MessageStopOptions> = async (app, { access, stopper }) => {
  app.post('/messages/:messageId/stop', { schema, attachValidation: true }, async (request, reply) => {
    try {
      const userId = await access.identify(request)
      const messageId = canonicalMessageId(request.params.messageId)
      if (messageId === null) throw new InvalidMessageIdError(JSON.stringify(request.params.messageId))
      await access.findMessage(request, userId, messageId, 'stop')
      await stopper.stop(messageId).catch(
        (cause: unknown) => { throw new DatabaseUnavailableError({ cause: causeOf(cause) }) })
    } catch (error) {
      return refuseForNow(reply, error, 'status')
    }
    return await reply.code(202).send()
  })
}
