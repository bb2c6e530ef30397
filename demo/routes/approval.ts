import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { AnswerStore } from '../store/answers.js'
import type { Answering } from '../work/answering.js'
import { ConflictError, ErrorAnswer, MessageId, NotFoundError, requireSession } from './schemas.js'

const schema = {
  summary: 'The user\'s decision on what the answer wants to do; the answer then goes on',
  params: Type.Object({ messageId: MessageId }),
  body: Type.Object({ approvalId: Type.String({ format: 'uuid' }), approved: Type.Boolean() }, { additionalProperties: false }),
  response: {
    202: Type.Object({ ok: Type.Literal(true) }),
    400: ErrorAnswer,
    401: ErrorAnswer,
    404: ErrorAnswer,
    409: ErrorAnswer
  }
} as const

export interface ApprovalOptions {
  store: AnswerStore
  answering: Answering
}

/** Answers once the message streams again: a reader that comes for the rest then waits for it. */
export const approvalRoutes: FastifyPluginAsyncTypebox<ApprovalOptions> = async (app, { store, answering }) => {
  app.post('/messages/:messageId/approval', { schema, onRequest: async (request) => { requireSession(request) } }, async (request, reply) => {
    const userId = requireSession(request)
    const { messageId } = request.params
    const { approvalId, approved } = request.body
    const action = await store.findApproval({ messageId, userId, approvalId })
    if (action === null) throw new NotFoundError('Nothing of this kind waits for your approval')
    if (!await answering.decide({ messageId, userId, approvalId, approved, action })) throw new ConflictError('This was decided already')
    return reply.code(202).send({ ok: true as const })
  })
}
