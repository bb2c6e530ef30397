import { createServer, connect, type Socket } from 'node:net'
import type { Teardown } from './database.js'
import { createMessageFilter, type Verdict } from './resp-filter.js'
import { listenOnFreePort } from './free-port.js'

/** `toServer`: what clients send. `toClient`: what the server answers. */
export type Direction = 'toServer' | 'toClient'

/**
 * What happens to the bytes of a direction, on the connections there are and on those to come.
 * - `flow`: they are passed on.
 * - `stall`: they are held back, as by a network that hangs; none is lost once they flow again.
 * - `drop`: they are read and thrown away, as by a network that takes an answer with it.
 */
export type Mode = 'flow' | 'stall' | 'drop'

/** A wire between a client and a TCP server that can be made as bad as wires get. */
export interface TcpProxy {
  readonly port: number
  /** The server's URL with this proxy in the server's place. */
  readonly url: string
  /** Connections that are open now. */
  readonly connections: number
  /** New connections that `refuse` has turned away so far. */
  readonly refused: number
  /** Bytes of a direction that were thrown away so far. */
  readonly dropped: Readonly<Record<Direction, number>>
  set (direction: Direction, mode: Mode): void
  /** No byte passes any more on the connections there are, until `set` says otherwise; those to come are well. */
  stallOpen (): void
  /** Resets every connection, towards both sides. New ones are taken. */
  cut (): void
  /** Resets every connection, and each new one as soon as it comes, until `accept`: a server that is away. */
  refuse (): void
  accept (): void
  /** New connections go to this server from now on. */
  redirect (target: string): void
  /** Resolves when the next bytes are thrown away. */
  untilDropped (direction: Direction): Promise<void>
  /** Resolves when `count` more connections have been turned away. */
  untilRefused (count: number): Promise<void>
}

interface Link {
  /** Where the bytes of each direction come from. */
  sources: Record<Direction, Socket>
}

export interface TcpProxyOptions {
  /** For Redis: what becomes of each pub/sub message on its way to a subscriber. */
  filter?: (topic: string, text: string) => Verdict
}

/** Listens on a free port of the loopback address; closed, with all its connections, after the test. */
export async function startTcpProxy (t: Teardown, target: string, { filter }: TcpProxyOptions = {}): Promise<TcpProxy> {
  let upstreamUrl = new URL(target)
  const links = new Set<Link>()
  const modes: Record<Direction, Mode> = { toServer: 'flow', toClient: 'flow' }
  const dropped = { toServer: 0, toClient: 0 }
  const onDropped: Record<Direction, Array<() => void>> = { toServer: [], toClient: [] }
  let refusing = false
  let refused = 0
  let onRefused: Array<() => void> = []

  function forward (source: Socket, sink: Socket, direction: Direction, pass = (chunk: Buffer) => chunk): void {
    source.on('data', (chunk) => {
      if (modes[direction] === 'drop') {
        dropped[direction] += chunk.length
        for (const resolve of onDropped[direction].splice(0)) resolve()
      } else if (!sink.write(pass(chunk))) {
        source.pause()
        sink.once('drain', () => { if (modes[direction] !== 'stall') source.resume() })
      }
    })
    source.on('end', () => { sink.end() })
    source.on('error', () => { sink.destroy() })
    source.on('close', () => { sink.destroy() })
    if (modes[direction] === 'stall') source.pause()
  }

  function reset ({ sources }: Link): void {
    for (const socket of [sources.toServer, sources.toClient]) {
      // libuv does not reset a socket that is saying goodbye, and Node 20 then waits for it at its end, for ever.
      if (socket.writableEnded) socket.destroy()
      else socket.resetAndDestroy()
    }
  }

  const server = createServer({ allowHalfOpen: true }, (client) => {
    if (refusing) {
      client.on('error', () => {})
      client.resetAndDestroy()
      refused++
      for (const check of onRefused) check()
      return
    }
    const upstream = connect({ host: upstreamUrl.hostname, port: Number(upstreamUrl.port), allowHalfOpen: true })
    const link = { sources: { toServer: client, toClient: upstream } }
    client.setNoDelay(true)
    upstream.setNoDelay(true)
    links.add(link)
    client.on('close', () => { links.delete(link) })
    forward(client, upstream, 'toServer')
    forward(upstream, client, 'toClient', filter === undefined ? undefined : createMessageFilter(filter))
  })
  const own = await listenOnFreePort(server)

  const proxy: TcpProxy = {
    port: own,
    url: through(target, own),
    get connections () { return links.size },
    get refused () { return refused },
    dropped,
    set (direction, mode) {
      modes[direction] = mode
      for (const { sources } of links) {
        if (mode === 'stall') sources[direction].pause()
        else sources[direction].resume()
      }
    },
    stallOpen () {
      for (const { sources } of links) {
        sources.toServer.pause()
        sources.toClient.pause()
      }
    },
    cut () {
      for (const link of links) reset(link)
    },
    refuse () {
      refusing = true
      proxy.cut()
    },
    accept () { refusing = false },
    redirect (other) { upstreamUrl = new URL(other) },
    untilDropped: async (direction) => await new Promise((resolve) => { onDropped[direction].push(resolve) }),
    async untilRefused (count) {
      const wanted = refused + count
      await new Promise<void>((resolve) => {
        onRefused.push(() => { if (refused >= wanted) resolve() })
      })
      onRefused = []
    }
  }
  t.teardown(async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    proxy.refuse()
    await closed
  })
  return proxy
}

function through (target: string, port: number): string {
  const url = new URL(target)
  url.hostname = '127.0.0.1'
  url.port = String(port)
  return url.href
}
