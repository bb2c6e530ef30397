import { randomUUID } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createParser } from 'eventsource-parser'
import type { Test } from 'tap'
import type { LiveAnswerer } from '../../demo/answers/answerer.js'
import { buildDemo, type Demo, type DemoOptions } from '../../demo/app.js'
import type { Supervisor } from '../../demo/supervisor.js'
import { createTestDatabase } from './database.js'

export const redisUrl = process.env['TEST_REDIS_URL'] ?? ''

export const sessionSecret = 's'.repeat(32)

/** A supervisor of one worker, which is not killed but asked for. */
export function loneSupervisor (overrides: Partial<Supervisor> = {}): Supervisor & { killed: string[] } {
  const self = { worker: 1, producer: randomUUID() }
  const killed: string[] = []
  return {
    self,
    killed,
    state: async () => ({ workers: [{ pid: process.pid, worker: 1 }], redis: { kind: 'redis-server', running: true, controllable: false } }),
    pidOf: async (producer) => producer === self.producer ? process.pid : undefined,
    kill: async (producer) => { killed.push(producer) },
    setRedis: async (running) => running,
    ...overrides
  }
}

export const live = (answer: LiveAnswerer['answer']): LiveAnswerer => ({ name: 'a test\'s', answer })

export interface StartedDemo extends Demo {
  /** Without a slash at the end. */
  url: string
  databaseUrl: string
}

/** The demo as one app on a real socket; closed after the test. */
export async function startDemo (t: Test, options: Partial<DemoOptions> & Pick<DemoOptions, 'answerer'>): Promise<StartedDemo> {
  const databaseUrl = options.databaseUrl ?? await createTestDatabase(t)
  const demo = await buildDemo({
    databaseUrl, redisUrl, sessionSecret, supervisor: loneSupervisor(), pageFolder: join(tmpdir(), 'never-built'), tokensPerSecond: 1_000_000, ingestMs: 0, ...options
  })
  t.teardown(() => demo.app.close())
  return { ...demo, databaseUrl, url: await demo.app.listen({ host: '127.0.0.1', port: 0 }) }
}

export const ask = (url: string, body: unknown, init: RequestInit = {}): Promise<Response> => fetch(`${url}/api/chat`, {
  method: 'POST', redirect: 'manual', body: JSON.stringify(body), ...init, headers: { 'content-type': 'application/json', ...init.headers }
})

export const post = (url: string, cookie: string, body: unknown): Promise<Response> => fetch(url, {
  method: 'POST', headers: { cookie, 'content-type': 'application/json' }, body: JSON.stringify(body)
})

/** The frames of an SSE response that carry data, byte for byte; it ends with the response. */
export async function * framesOf (response: Response): AsyncGenerator<string, undefined> {
  if (response.body === null) return undefined // a 204
  let rest = ''
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const frames = (rest + text).split(/(?<=\n\n)/)
    rest = frames.at(-1)?.endsWith('\n\n') ? '' : frames.pop() ?? ''
    yield * frames.filter((frame) => frame.startsWith('data:'))
  }
  return undefined
}

export async function allFramesOf (response: Response): Promise<string[]> {
  const frames = []
  for await (const frame of framesOf(response)) frames.push(frame)
  return frames
}

export async function next (frames: AsyncIterator<string>, count: number): Promise<string[]> {
  const taken: string[] = []
  while (taken.length < count) {
    const { value, done } = await frames.next()
    if (done) throw new Error(`the stream ended after ${taken.length} of ${count} frames`)
    taken.push(value)
  }
  return taken
}

/** What the frames say, each with its id. */
export function eventsOf (frames: string[]): Array<{ id: number, type: string, answer?: string, [field: string]: unknown }> {
  const events: Array<{ id: number, type: string }> = []
  const parser = createParser({ onEvent: ({ id, data }) => { events.push({ ...JSON.parse(data), id: Number(id) }) } })
  parser.feed(frames.join(''))
  return events
}

export const textOf = (frames: string[]): string => eventsOf(frames).map(({ answer = '' }) => answer).join('')

export const cookieOf = (response: Response): string => response.headers.getSetCookie().map((cookie) => cookie.split(';')[0]).join('; ')

export const addressOf = (url: string, response: Response): string => `${url}${response.headers.get('location')}`

/** A session of its own, as the page gets it. */
export async function openSession (url: string): Promise<string> {
  const page = await fetch(`${url}/`)
  await page.body?.cancel()
  return cookieOf(page)
}
