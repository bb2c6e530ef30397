import createError from '@fastify/error'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { Ingesting } from '../work/ingesting.js'
import { ErrorAnswer, requireSession } from './schemas.js'

const largestFile = 5 * 1024 * 1024

const TooLargeError = createError('DEMO_TOO_LARGE', 'The file is larger than 5 MiB', 413)
const NotTextError = createError('DEMO_NOT_TEXT', 'The file %s', 400)

const schema = {
  summary: 'Takes a text in: later questions of its user are answered from it as well',
  querystring: Type.Object({ name: Type.String({ pattern: '\\S', maxLength: 200, description: 'The file\'s name' }) }),
  response: {
    202: Type.Object({ uploadId: Type.String() }),
    400: ErrorAnswer,
    401: ErrorAnswer,
    413: ErrorAnswer,
    415: ErrorAnswer
  }
} as const

export interface UploadOptions {
  ingesting: Ingesting
}

/** `POST /uploads?name=…` with the file as its body; how it goes is told in the user's notifications. */
export const uploadRoutes: FastifyPluginAsyncTypebox<UploadOptions> = async (app, { ingesting }) => {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(['text/plain', 'text/markdown', 'application/octet-stream'], { parseAs: 'buffer', bodyLimit: largestFile },
    async (_request: unknown, body: Buffer) => body)

  app.addHook('onRequest', async (request) => {
    requireSession(request)
    // Fastify would close the connection in the middle of the file, and few clients read an answer then
    if (Number(request.headers['content-length']) > largestFile) throw new TooLargeError()
  })

  app.post('/uploads', { schema, bodyLimit: largestFile }, async (request, reply) => {
    const content = textOf(request.body)
    const name = request.query.name.replace(/\p{C}/gu, '').trim()
    const uploadId = await ingesting.begin({ userId: requireSession(request), name, content })
    return reply.code(202).send({ uploadId })
  })
}

function textOf (body: unknown): string {
  if (!Buffer.isBuffer(body)) throw new NotTextError('is empty')
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(body)
  } catch {
    throw new NotTextError('is not UTF-8 text')
  }
  if (text.includes('\0')) throw new NotTextError('is not text: it has NUL in it')
  if (text.trim() === '') throw new NotTextError('is empty')
  return text
}
