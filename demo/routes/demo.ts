import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { AnswerStore } from '../store/answers.js'
import { RedisState, WorkerState, type Supervisor } from '../supervisor.js'
import { ConflictError, ErrorAnswer, MessageId, NotFoundError, requireSession } from './schemas.js'

export interface DemoRouteOptions {
  store: AnswerStore
  supervisor: Supervisor
  /** How the answerer is called. */
  answers: string
}

const Stats = Type.Object({
  pid: Type.Integer(),
  worker: Type.Integer(),
  uptimeS: Type.Number(),
  journal: Type.Object({ viewers: Type.Integer(), topics: Type.Integer(), producers: Type.Integer() })
})

const Demo = Type.Object({ pid: Type.Integer(), workers: Type.Array(WorkerState), redis: RedisState, answers: Type.String() })

const Kill = Type.Object({ messageId: Type.Optional(MessageId) }, { additionalProperties: false })

/** What the demo runs on, and how to break it. */
export const demoRoutes: FastifyPluginAsyncTypebox<DemoRouteOptions> = async (app, { store, supervisor, answers }) => {
  app.addHook('onRequest', async (request) => { requireSession(request) })

  app.get('/stats', { schema: { response: { 200: Stats, 401: ErrorAnswer } } }, async () => ({
    pid: process.pid,
    worker: supervisor.self.worker,
    uptimeS: Math.round(process.uptime() * 10) / 10,
    journal: app.journal.stats()
  }))

  app.get('/demo', { schema: { response: { 200: Demo, 401: ErrorAnswer } } }, async () => ({
    pid: process.pid, ...await supervisor.state(), answers
  }))

  app.post('/demo/kill', {
    schema: { body: Kill, response: { 202: Type.Object({ pid: Type.Integer() }), 400: ErrorAnswer, 401: ErrorAnswer, 404: ErrorAnswer } },
    preValidation: async (request) => { request.body ??= {} }
  }, async (request, reply) => {
    const { messageId } = request.body
    const producer = messageId === undefined ? supervisor.self.producer : await store.producerOf(messageId, requireSession(request))
    const pid = producer === null ? undefined : await supervisor.pidOf(producer)
    if (producer === null || pid === undefined) throw new NotFoundError('Nobody is producing this message')
    // Not before: it may be this very process
    reply.raw.once('close', () => { supervisor.kill(producer) })
    return reply.code(202).send({ pid })
  })

  app.post('/demo/redis', {
    schema: {
      body: Type.Object({ running: Type.Boolean() }, { additionalProperties: false }),
      response: { 200: Type.Object({ running: Type.Boolean() }), 400: ErrorAnswer, 401: ErrorAnswer, 409: ErrorAnswer }
    }
  }, async (request) => {
    const { redis } = await supervisor.state()
    if (!redis.controllable) throw new ConflictError('This Redis is not the demo\'s own')
    return { running: await supervisor.setRedis(request.body.running) }
  })
}
