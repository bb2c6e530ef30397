import { readFile } from 'node:fs/promises'
import type { FastifyPluginAsync } from 'fastify'
import { ensureSession } from './session.js'

const files = [
  { path: '/', file: 'index.html', type: 'text/html; charset=utf-8' },
  { path: '/page.js', file: 'page.js', type: 'text/javascript; charset=utf-8' },
  { path: '/page.css', file: 'page.css', type: 'text/css; charset=utf-8' }
]

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

/** The page: three fixed files, read once. Opening it starts a session, so that the first question already has one. */
export const pageRoutes: FastifyPluginAsync = async (app) => {
  for (const { path, file, type } of files) {
    const content = await readFile(new URL(`./page/${file}`, import.meta.url))
    app.get(path, async (request, reply) => {
      if (path === '/') ensureSession(request, reply)
      reply.headers({ 'content-type': type, 'cache-control': 'no-cache', 'content-security-policy': policy, 'x-content-type-options': 'nosniff' })
      return content
    })
  }
}
