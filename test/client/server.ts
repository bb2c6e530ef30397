import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { setTimeout as delay } from 'node:timers/promises'
import type { Test } from 'tap'
import { listenOnFreePort } from '../helper/free-port.js'

export interface Asked {
  method: string
  url: string
  headers: IncomingMessage['headers']
  body: string
}

/** A server that answers as it is told, for what the library's own does not say at will. */
export interface Server {
  url: string
  /** The requests so far. */
  asked: Asked[]
  /** How many requests are under way: fetch may keep a connection without one. */
  open: () => number
  /** The cursors that the requests came with. */
  cursors: () => Array<string | undefined>
}

/** One request's answer: what to do with the response. The last one is repeated. */
export type Answer = (response: ServerResponse, request: IncomingMessage) => unknown

/** Listens on a free port; closed, with its connections, after the test. */
export async function startServer (t: Test, ...answers: Answer[]): Promise<Server> {
  const asked: Asked[] = []
  const sockets = new Set<Socket>()
  let underWay = 0
  const server = createServer(async (request, response) => {
    const { method = '', url = '', headers } = request
    underWay++
    response.on('close', () => { underWay-- })
    const answer = answers[Math.min(asked.length, answers.length - 1)]
    asked.push({ method, url, headers, body: '' })
    const mine = asked.at(-1)
    if (mine !== undefined) mine.body = await text(request)
    await answer?.(response, request)
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => { sockets.delete(socket) })
  })
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => { server.close(resolve) })
  })
  const port = await listenOnFreePort(server)
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    open: () => underWay,
    cursors: () => asked.map(({ headers }) => headers['last-event-id']?.toString())
  }
}

/** An event stream that stays open. */
export function open (...parts: string[]): Answer {
  return (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const part of [': connected\n\n', ...parts]) response.write(part)
  }
}

/** An event stream that ends as it should. */
export function stream (...parts: string[]): Answer {
  return async (response, request) => {
    await open(...parts)(response, request)
    response.end()
  }
}

/** From undici 7.30 on (Node 24.22), `fetch` drops what arrives together with the end of its connection: headers, too. */
const ARRIVAL_MS = 25

/** An event stream that breaks off a moment after its parts have arrived. */
export function broken (...parts: string[]): Answer {
  return async (response, request) => {
    await open(...parts)(response, request)
    await delay(ARRIVAL_MS)
    response.socket?.destroySoon()
  }
}

/** A status, with headers, and a body: JSON, if it is an object. */
export function status (code: number, headers: Record<string, string> = {}, body: string | object = ''): Answer {
  return (response) => { response.writeHead(code, headers).end(typeof body === 'string' ? body : JSON.stringify(body)) }
}

/** Nothing at all. */
export const silence: Answer = () => {}

export function frame (id: number | string, payload: object): string {
  return `data: ${JSON.stringify(payload)}\nid: ${id}\n\n`
}

export const END = { type: 'end' }

/** The terminal event, and how the server says that it is one. */
export function last (id: number | string, how = 'complete'): string {
  return `${frame(id, END)}: end ${how}\n\n`
}
