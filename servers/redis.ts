import { connect as connectTcp } from 'node:net'
import { tmpdir } from 'node:os'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { freePort, launch, LaunchError, type ServerProcess } from './server-process.js'

const REPLY_TIMEOUT_MS = 5_000

export type RedisKind = 'redis-server' | 'valkey-server' | 'js-redis-server'

export interface RedisOptions {
  /** Default: a free one. */
  port?: number
  /** Where files go when `persistence` is on. Default: the folder for temporary files. */
  dir?: string
  /** Keep the data in an append-only file in `dir`. Default false; js-redis-server keeps nothing in any case. */
  persistence?: boolean
  /** How soon an append-only file is on the disk; `always`: before the answer. Default `everysec`, as Redis has it. */
  fsync?: 'always' | 'everysec'
}

export interface RedisServer {
  readonly url: string
  readonly port: number
  readonly kind: RedisKind
  /** null while it is down. */
  readonly pid: number | null
  /** Resolves when the process is gone. Harmless when it is down already. */
  stop (): Promise<void>
  /** As {@link RedisServer.stop}, by SIGKILL: what a crash looks like. */
  kill (): Promise<void>
  /** Starts it again after `stop` or `kill`, on the same port; resolves once it answers. */
  start (): Promise<void>
}

/**
 * One command on a connection of its own; resolves to the raw reply, so it is fit for PING and INFO and little else.
 * Rejects when the server cannot be reached, refuses the command, or is silent for five seconds.
 */
export async function askRedis (url: string, ...command: string[]): Promise<string> {
  const { protocol, hostname, port, username, password } = new URL(url)
  const address = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 6379) }
  const login = [username, password].filter((part) => part !== '').map(decodeURIComponent)
  const commands = login.length > 0 ? [['AUTH', ...login], command] : [command]
  const socket = protocol === 'rediss:' ? connectTls({ ...address, servername: address.host }) : connectTcp(address)
  return new Promise<string>((resolve, reject) => {
    let reply = ''
    socket.setTimeout(REPLY_TIMEOUT_MS, () => socket.destroy(new Error(`no answer from Redis at ${hostname}:${address.port}`)))
    socket.setEncoding('utf8').on('data', (chunk) => { reply += chunk })
    socket.once('error', reject)
    socket.once('close', () => {
      const refusal = /^-(.*)$/m.exec(reply)
      if (refusal === null && reply !== '') resolve(reply)
      else reject(new Error(refusal?.[1] ?? 'Redis closed the connection without an answer'))
    })
    for (const words of [...commands, ['QUIT']]) {
      const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`)
      socket.write(`*${words.length}\r\n${parts.join('')}`)
    }
  })
}

/** Which server answers at the address, and its version. Rejects as {@link askRedis} does. */
export async function describeRedis (url: string): Promise<{ kind: RedisKind, version: string }> {
  const info = await askRedis(url, 'INFO', 'server')
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
  const valkey = field('valkey_version')
  if (valkey !== undefined) return { kind: 'valkey-server', version: valkey }
  const kind = field('os') === 'mocked redis' ? 'js-redis-server' : 'redis-server'
  return { kind, version: field('redis_version') ?? 'unknown' }
}

function launchKind (kind: RedisKind, port: number, { dir = tmpdir(), persistence = false, fsync = 'everysec' }: RedisOptions): Promise<ServerProcess> {
  if (kind === 'js-redis-server') {
    const script = fileURLToPath(new URL('./js-redis-server.js', import.meta.url))
    return launch({
      command: process.execPath,
      args: [script, String(port)],
      ready: /Ready to accept connections/,
      orphanSignal: 'SIGKILL',
      // Without a test runner's hooks: this is a server, not a part of the tests
      env: { PATH: process.env['PATH'] }
    })
  }
  const files = persistence ? ['--dir', dir, '--appendonly', 'yes', '--appendfsync', fsync] : ['--appendonly', 'no']
  return launch({
    command: kind,
    args: ['--bind', '127.0.0.1', '--port', String(port), '--save', '', ...files],
    ready: /Ready to accept connections/,
    orphanSignal: 'SIGTERM'
  })
}

/** The first kind whose program is there; js-redis-server is an npm package, so there is always one. */
async function launchFirst (port: number, options: RedisOptions): Promise<{ kind: RedisKind, server: ServerProcess }> {
  for (const kind of ['redis-server', 'valkey-server'] as const) {
    try {
      return { kind, server: await launchKind(kind, port, options) }
    } catch (error) {
      if (!(error instanceof LaunchError && error.missing)) throw error
    }
  }
  return { kind: 'js-redis-server', server: await launchKind('js-redis-server', port, options) }
}

/**
 * Starts a private Redis that listens on the loopback address only: `redis-server`, else `valkey-server` from the PATH,
 * else the npm package js-redis-server in a process of its own, which is for a first look and proves nothing about Redis.
 * Resolves once it answers PING. Rejects with the server's last log lines in the error. It ends with our process, however
 * that ends, and no handler for a signal or an exit is installed for it.
 */
export async function startRedis (options: RedisOptions = {}): Promise<RedisServer> {
  let port = options.port ?? await freePort()
  const first = await launchFirst(port, options).catch(async (error: unknown) => {
    // A free port can be lost to another program between the look and the start
    if (options.port !== undefined || !(error instanceof LaunchError && /address already in use|EADDRINUSE/i.test(error.log))) throw error
    port = await freePort()
    return launchFirst(port, options)
  })
  const { kind } = first
  const url = `redis://127.0.0.1:${port}`
  let server: ServerProcess | null = null

  const adopt = async (next: ServerProcess) => {
    server = next
    next.exited.then(() => { if (server === next) server = null }, () => {})
    try {
      await askRedis(url, 'PING')
    } catch (error) {
      await next.stop('SIGKILL')
      throw error
    }
  }
  await adopt(first.server)

  return {
    url,
    port,
    kind,
    get pid () { return server?.pid ?? null },
    async stop () { await server?.stop(kind === 'js-redis-server' ? 'SIGKILL' : 'SIGTERM') },
    async kill () { await server?.stop('SIGKILL') },
    async start () { if (server === null) await adopt(await launchKind(kind, port, options)) }
  }
}
