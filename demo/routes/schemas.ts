import createError from '@fastify/error'
import { Type } from '@sinclair/typebox'
import type { FastifyRequest } from 'fastify'
import { readSession } from '../session.js'

/** Fastify's own answer to an error. The library has the same for its routes, and does not export it: an app writes its own. */
export const ErrorAnswer = Type.Object({
  statusCode: Type.Integer(),
  code: Type.Optional(Type.String()),
  error: Type.String(),
  message: Type.String()
})

export const MessageId = Type.String({ format: 'uuid' })

export const NoSessionError = createError('DEMO_NO_SESSION', 'There is no session: the page gives one', 401)
export const NotFoundError = createError('DEMO_NOT_FOUND', '%s', 404)
export const ConflictError = createError('DEMO_CONFLICT', '%s', 409)

/** The session's id. @throws NoSessionError */
export function requireSession (request: FastifyRequest): string {
  const session = readSession(request)
  if (session === null) throw new NoSessionError()
  return session
}
