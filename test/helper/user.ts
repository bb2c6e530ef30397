import { randomUUID } from 'node:crypto'
import type { Test } from 'tap'
import type { PublishUserEvent } from '../../plugin/index.js'
import { startApp, type TestApp, type TestAppOptions } from './app.js'
import { connect, type ConnectOptions, type Connection } from './sse.js'

/** A user of an app, and what this user's pages do. */
export interface User extends TestApp {
  user: string
  /** Rejects when nothing was published. */
  publish (type: string, payload?: object): Promise<string>
  /** `url`: of another app. */
  open (cursor?: string, options?: ConnectOptions & { url?: string }): Promise<Connection>
}

/** An app, and a user of this test alone: Redis is shared by all files. */
export async function startUser (t: Test, options: TestAppOptions = {}): Promise<User> {
  const started = await startApp(t, options)
  const user = randomUUID()
  return {
    ...started,
    user,
    publish: async (type, payload) => await published(started.app.journal.publishUserEvent, user, type, payload),
    open: async (cursor, { url = started.url, headers, ...more } = {}) => await connect(t, `${url}/api/events`, {
      user, headers: { ...cursor !== undefined && { 'last-event-id': cursor }, ...headers }, ...more
    })
  }
}

export async function published (publish: PublishUserEvent, user: string, type: string, payload?: object): Promise<string> {
  const id = await publish(user, type, payload)
  if (id === null) throw new Error('nothing was published')
  return id
}

export async function publishMany ({ publish }: Pick<User, 'publish'>, count: number, payload: object = {}): Promise<string[]> {
  return await Promise.all(Array.from({ length: count }, (_, n) => publish('counted', { n, ...payload })))
}

/** The notifications that have come so far. */
export function parsed ({ events }: Connection) {
  return events.map(({ data }) => JSON.parse(data))
}

/** What a reader is told that has lost something. */
export function truncated (oldest: string | null | undefined) {
  return { type: 'backlog.truncated', payload: { oldest_retained_id: oldest ?? null } }
}

export function streamKey ({ user }: Pick<User, 'user'>): string {
  return `user:${user}:stream`
}
