import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { Teardown } from '../helper/database.js'
import { listenOnFreePort } from '../helper/free-port.js'

/**
 * A wire that breaks at a byte. What it cuts must not say `Connection: close`: Node's fetch takes such a response for
 * complete wherever it breaks off.
 */
export interface CuttingProxy {
  /** The server's URL with this proxy in the server's place. */
  readonly url: string
  /** Connections taken so far. */
  readonly taken: number
  /** What was passed on to clients since `cutAfter`. */
  readonly passed: Buffer
  /**
   * Closes what is open, and says after how many bytes of the server's the next connections are cut, one number each;
   * those after them are not cut. 0: before the first byte of the answer; -1: before the server hears of the request.
   */
  cutAfter (...bytes: number[]): Promise<void>
  /** Cuts every connection now. */
  cut (): void
}

/** Closed, with all its connections, after the test. */
export async function startCuttingProxy (t: Teardown, target: string): Promise<CuttingProxy> {
  const { hostname, port } = new URL(target)
  let limits: number[] = []
  let taken = 0
  let passed = Buffer.alloc(0)

  const server = createServer((client) => {
    taken++
    let left = limits.shift() ?? Infinity
    client.on('error', () => {})
    if (left < 0) return client.destroy()
    const upstream = connect(Number(port), hostname)
    upstream.on('error', () => {})
    upstream.on('close', () => client.destroy())
    client.on('close', () => upstream.destroy())
    client.pipe(upstream)
    upstream.on('data', (chunk) => {
      const part = chunk.subarray(0, left)
      left -= part.length
      passed = Buffer.concat([passed, part])
      client.write(part)
      if (part.length < chunk.length || left === 0) client.destroySoon() // the client gets these, and no more
    })
    upstream.on('end', () => client.end())
  })
  const open = new Set<Socket>()
  server.on('connection', (socket) => {
    open.add(socket)
    socket.on('close', () => { open.delete(socket) })
  })
  t.teardown(async () => {
    proxy.cut()
    await new Promise((resolve) => { server.close(resolve) })
  })
  const own = await listenOnFreePort(server)
  const proxy: CuttingProxy = {
    url: `http://127.0.0.1:${own}`,
    get taken () { return taken },
    get passed () { return passed },
    async cutAfter (...bytes) {
      const closed = Promise.all([...open].map(async (socket) => await once(socket, 'close')))
      limits = bytes
      passed = Buffer.alloc(0)
      proxy.cut()
      await closed
      await new Promise(setImmediate) // the client of the same process has seen it too
    },
    cut () { for (const socket of open) socket.destroy() }
  }
  return proxy
}

/** Where to cut a response: at every byte of its body, and here and there before. */
export function cutsOf (response: Buffer): number[] {
  const body = response.indexOf('\r\n\r\n') + 4
  return Array.from({ length: response.length + 1 }, (_, bytes) => bytes).filter((bytes) => bytes >= body - 4 || bytes % 32 === 0)
}
