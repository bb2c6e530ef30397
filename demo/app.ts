import cookie from '@fastify/cookie'
import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import messageJournal from '../plugin/index.js'
import { publicError, type Answerer } from './answers/answerer.js'
import { chatRoutes } from './chat.js'
import { pageRoutes } from './page.js'
import { readSession } from './session.js'

export interface DemoOptions {
  databaseUrl: string
  redisUrl: string
  /** Signs the session cookies: whoever has it can be anybody. */
  sessionSecret: string
  answer: Answerer
  logger?: FastifyServerOptions['logger']
}

/** The demo as a Fastify app, ready to listen; `app.close()` closes all that it opened. */
export async function buildDemo ({ databaseUrl, redisUrl, sessionSecret, answer, logger = false }: DemoOptions): Promise<FastifyInstance> {
  const app = Fastify({ logger })
  try {
    await app.register(cookie, { secret: sessionSecret })
    await app.register(postgres, { connectionString: databaseUrl })
    await app.register(redis, { url: redisUrl })
    await app.register(messageJournal, { prefix: '/api', identify: readSession, migrate: true, publicError })
    await app.register(chatRoutes, { prefix: '/api', answer })
    await app.register(pageRoutes)
    await app.ready()
    return app
  } catch (error) {
    await app.close()
    throw error
  }
}
