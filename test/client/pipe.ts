import { randomUUID } from 'node:crypto'
import type { Test } from 'tap'
import type { EventsOptions, Health, UserEvent } from '../../client/index.js'
import { startApp, type TestApp, type TestAppOptions } from '../helper/app.js'
import { createWatcher } from '../helper/watcher.js'

export interface Pipe extends TestApp {
  /** A user of this test alone: Redis is shared by all files. */
  user: string
  /** What `connectEvents` needs to know. */
  pipe: Pick<EventsOptions, 'url' | 'headers' | 'backoffMs'>
  /** The cursors that connections came with, in order. */
  cursors: Array<string | undefined>
  /** Publishes `{ n }`s, one after the other; resolves with their ids. */
  publish: (...numbers: number[]) => Promise<string[]>
}

export async function startPipe (t: Test, { notifications = {}, ...options }: TestAppOptions = {}): Promise<Pipe> {
  const cursors: Array<string | undefined> = []
  const user = randomUUID()
  const started = await startApp(t, {
    retryMs: 1,
    notifications: notifications && { maxReplaysPerUser: 0, ...notifications },
    extend (app) {
      app.addHook('onRequest', async ({ headers }) => { cursors.push(headers['last-event-id']?.toString()) })
    },
    ...options
  })
  return {
    ...started,
    user,
    pipe: { url: `${started.url}/api/events`, headers: { 'x-user': user }, backoffMs: [0] },
    cursors,
    async publish (...numbers) {
      const ids: string[] = []
      for (const n of numbers) {
        const id = await started.app.journal.publishUserEvent(user, 'counted', { n })
        if (id === null) throw new Error('nothing was published')
        ids.push(id)
      }
      return ids
    }
  }
}

/** What a reader of the pipe was told. */
export interface Reader {
  events: UserEvent[]
  readonly ids: Array<string | null>
  readonly numbers: unknown[]
  health: Health[]
  truncations: Array<string | null>
  /** To be spread into the call's options. */
  listeners: Required<Pick<EventsOptions, 'onEvent' | 'onHealth' | 'onTruncated'>>
  /** Resolves once `condition` holds; it is looked at whenever the reader is told something. */
  until: (condition: (reader: Reader) => boolean) => Promise<void>
}

export function createReader (): Reader {
  const { look, until } = createWatcher()
  const ids: Array<string | null> = []
  const reader: Reader = {
    events: [],
    ids,
    get numbers () { return reader.events.map(({ payload }) => payload.n) },
    health: [],
    truncations: [],
    listeners: {
      onEvent (event, id) {
        reader.events.push(event)
        ids.push(id)
        look()
      },
      onHealth (health) {
        reader.health.push(health)
        look()
      },
      onTruncated (oldest) {
        reader.truncations.push(oldest)
        look()
      }
    },
    until: async (condition) => await until(() => condition(reader))
  }
  return reader
}

export const isHealthy = ({ health }: Reader): boolean => health.at(-1) === 'healthy'
