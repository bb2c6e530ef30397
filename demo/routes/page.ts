import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import fastifyStatic from '@fastify/static'
import type { FastifyPluginAsync } from 'fastify'
import { ensureSession } from '../session.js'

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const headers = { 'cache-control': 'no-cache', 'content-security-policy': policy, 'x-content-type-options': 'nosniff' }

/** Their names change with their content. */
const keptForEver = 'public, max-age=31536000, immutable'

const placeholder = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>fastify-message-journal</title>
<p>The page is not built; <code>npm start</code> does that.</p></html>
`

export interface PageOptions {
  /** What Vite has built; where it is missing, a placeholder is served. */
  folder: string
}

/** The page and its assets. Opening it starts a session, so that the first question already has one. */
export const pageRoutes: FastifyPluginAsync<PageOptions> = async (app, { folder }) => {
  const isBuilt = existsSync(join(folder, 'index.html'))
  if (isBuilt) {
    await app.register(fastifyStatic, {
      root: folder,
      wildcard: false,
      index: false,
      cacheControl: false,
      globIgnore: ['index.html'],
      setHeaders (reply, path) {
        reply.headers(headers)
        if (basename(dirname(path)) === 'assets') reply.header('cache-control', keptForEver)
      }
    })
  }
  app.get('/', async (request, reply) => {
    ensureSession(request, reply)
    return isBuilt ? reply.sendFile('index.html') : reply.headers(headers).type('text/html; charset=utf-8').send(placeholder)
  })
}
