import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { once } from 'node:events'
import http, { type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import type { Test } from 'tap'
import { createWatcher } from './watcher.js'

/** A real SSE connection, read by an independent parser. */
export interface Connection {
  response: IncomingMessage
  status: number
  /** Everything received so far, as it came. */
  readonly raw: string
  /** The events received so far. */
  events: EventSourceMessage[]
  comments: string[]
  retries: number[]
  /** Resolves when the server has ended the response; rejects when the connection is cut. */
  ended: Promise<void>
  /** Resolves once `condition` holds; it is looked at after each chunk. Rejects when the response ends before. */
  until (condition: (connection: Connection) => boolean): Promise<void>
  /** Cuts the connection, as a client that is killed does. */
  cut (): void
}

export interface ConnectOptions {
  user?: string
  method?: string
  headers?: OutgoingHttpHeaders
  body?: unknown
}

/** Opens `url` and resolves with its headers; cut after the test. */
export async function connect (t: Test, url: string, { user = 'ada', method = 'GET', headers = {}, body }: ConnectOptions = {}): Promise<Connection> {
  const text = body === undefined ? undefined : JSON.stringify(body)
  const request = http.request(url, {
    method,
    agent: false,
    headers: { 'x-user': user, ...text !== undefined && { 'content-type': 'application/json' }, ...headers }
  })
  request.end(text)
  t.teardown(() => { request.destroy() })
  request.on('error', () => {}) // after the headers, `ended` tells
  const [response] = await once(request, 'response') as [IncomingMessage]
  return read(response)
}

/** What an independent parser makes of the text that it is fed. */
export function createCollector () {
  const events: EventSourceMessage[] = []
  const comments: string[] = []
  const retries: number[] = []
  const parser = createParser({
    onEvent: (event) => { events.push(event) },
    onComment: (comment) => { comments.push(comment) },
    onRetry: (retry) => { retries.push(retry) }
  })
  return { parser, events, comments, retries }
}

function read (response: IncomingMessage): Connection {
  let raw = ''
  let over = false
  const { look, until } = createWatcher()
  const { parser, events, comments, retries } = createCollector()
  response.setEncoding('utf8')
  response.on('data', (chunk: string) => {
    raw += chunk
    parser.feed(chunk)
    look()
  })
  const ended = new Promise<void>((resolve, reject) => {
    response.on('end', resolve)
    response.on('error', reject)
  })
  const wake = (): void => {
    over = true
    look()
  }
  ended.then(wake, wake)

  const connection: Connection = {
    response,
    status: response.statusCode ?? 0,
    get raw () { return raw },
    events,
    comments,
    retries,
    ended,
    async until (condition) {
      await until(() => {
        const holds = condition(connection)
        if (!holds && over) throw new Error(`the response ended first, after:\n${raw}`)
        return holds
      })
    },
    cut () { response.destroy() }
  }
  return connection
}

/** The events' ids, in the order they came. */
export function ids (connection: Connection): Array<string | undefined> {
  return connection.events.map((event) => event.id)
}

/** Only the frames of a raw SSE text: no comments, no `retry:`. */
export function frames (raw: string): string {
  return raw.split('\n\n').filter((block) => block !== '' && !block.startsWith(':') && !block.startsWith('retry:')).map((block) => `${block}\n\n`).join('')
}
