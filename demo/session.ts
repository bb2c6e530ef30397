import { randomBytes, randomUUID } from 'node:crypto'
import { mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { FastifyReply, FastifyRequest } from 'fastify'

/**
 * Who a reader is: an anonymous id in a cookie signed by @fastify/cookie. Nobody can take another's session without
 * having its cookie, because an id whose signature does not fit is no id at all.
 */

export const sessionCookie = 'journal_demo_session'

/** In characters. */
export const shortestSecret = 32

const yearInSeconds = 365 * 24 * 60 * 60

/** The session's id; null without a cookie, and for a cookie that this server did not sign. */
export function readSession (request: FastifyRequest): string | null {
  const cookie = request.cookies[sessionCookie]
  return cookie === undefined ? null : request.unsignCookie(cookie).value
}

/** The session's id; where there is none, a new one, whose cookie travels with the reply. */
export function ensureSession (request: FastifyRequest, reply: FastifyReply): string {
  const existing = readSession(request)
  if (existing !== null) return existing
  const id = randomUUID()
  reply.setCookie(sessionCookie, id, {
    signed: true, httpOnly: true, sameSite: 'lax', secure: 'auto', path: '/', maxAge: yearInSeconds
  })
  return id
}

/**
 * The secret that signs the cookies, kept in `dataDir` (readable by its owner only) so that sessions survive a
 * restart; made on first use.
 */
export async function loadSessionSecret (dataDir: string): Promise<string> {
  const path = join(dataDir, 'session-secret')
  await mkdir(dataDir, { recursive: true })
  const file = await open(path, 'a+', 0o600)
  try {
    const kept = (await file.readFile('utf8')).trim()
    if (kept.length >= shortestSecret) return kept
    if (kept !== '') throw new Error(`${path} is too short to be a secret: delete it, and the next start makes a new one`)
    const made = randomBytes(shortestSecret).toString('base64url')
    await file.write(made)
    return made
  } finally {
    await file.close()
  }
}
