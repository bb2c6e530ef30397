/** What a server costs that does nothing but write: Node's own http, frames that are there already, no database and no Redis. */
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { LISTEN } from '../harness/app-settings.js'
import { serveRuntime } from '../harness/runtime.js'
import { frameOf, keyOf, notificationFrameOf, USER_HEADER } from '../harness/workload.js'

const HEAD = { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }
const OPENING = Buffer.from(': connected\n\n')

function pathOf (messageId: string): string {
  return `/api/messages/${messageId}/events`
}

/** A finished message of so many rows, whole. */
function bodyOf (path: string, rows: number): Buffer {
  const key = keyOf(path.slice(0, -'/events'.length))
  const frames = Array.from({ length: rows }, (_, n) => frameOf('plain', key, n, n === rows - 1))
  return Buffer.from(`${OPENING.toString()}${frames.join('')}`)
}

serveRuntime(async () => {
  const viewers = new Map<string, Set<ServerResponse>>()
  const bodies = new Map<string, Buffer>()

  function hold (place: string, response: ServerResponse): void {
    const others = viewers.get(place) ?? new Set()
    viewers.set(place, others.add(response))
    response.on('close', () => { others.delete(response) })
    response.write(OPENING)
  }

  async function writeAll (place: string, text: string): Promise<void> {
    const frame = Buffer.from(text)
    const slow: ServerResponse[] = []
    for (const response of viewers.get(place) ?? []) if (!response.write(frame)) slow.push(response)
    await Promise.all(slow.map(drained))
  }

  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://localhost')
    response.writeHead(200, HEAD)
    const rows = searchParams.get('rows')
    if (rows === null) return hold(request.headers[USER_HEADER]?.toString() ?? pathname, response)
    const body = bodies.get(pathname) ?? bodyOf(pathname, Number(rows))
    bodies.set(pathname, body)
    response.end(body)
  })
  server.listen({ ...LISTEN, port: 0 })
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo // it listens on TCP

  return {
    url: `http://127.0.0.1:${port}`,
    openWriter: async (messageId) => {
      const key = keyOf(messageId)
      return async (n) => {
        await writeAll(pathOf(messageId), frameOf('plain', key, n))
      }
    },
    openUserWriter: (userId) => async (n) => { await writeAll(userId, notificationFrameOf(userId, n, `${Date.now()}-${n}`)) },
    close: async () => {
      server.close()
      server.closeAllConnections()
    }
  }
})

async function drained (response: ServerResponse): Promise<void> {
  if (response.writableNeedDrain) await once(response, 'drain')
}
