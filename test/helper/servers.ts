import { execFile } from 'node:child_process'
import { access, chmod, chown, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { commandAs, serverUser } from '../../servers/postgres-binaries.js'
import { startPostgres, type PostgresOptions, type PostgresServer } from '../../servers/postgres.js'
import { startRedis, type RedisOptions, type RedisServer } from '../../servers/redis.js'
import type { Teardown } from './database.js'

/** Deleted after the test. */
export async function ownFolder (t: Teardown, mode = 0o700): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'journal-fault-'))
  await chmod(folder, mode)
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** A Postgres of the test's own, to be killed. Nothing is worth a disk write; stopped after the test. */
export async function ownPostgres (t: Teardown, { settings, ...options }: Partial<PostgresOptions> = {}): Promise<PostgresServer> {
  const dataDir = await ownFolder(t)
  const server = await startPostgres({ dataDir, persistent: false, ...options, settings: { fsync: 'off', full_page_writes: 'off', max_connections: '100', ...settings } })
  t.teardown(() => server.stop())
  return server
}

/** Where Debian and others put PostgreSQL's programs, a folder for each version. */
const PROGRAMS = '/usr/lib/postgresql'

/** A folder of PostgreSQL's programs with pg_basebackup, which npm brings without it; `null`: there is none here. */
export async function findPrograms (): Promise<string | null> {
  const versions = await readdir(PROGRAMS).catch(() => [])
  for (const version of versions.toSorted((a, b) => Number(b) - Number(a))) {
    const bin = join(PROGRAMS, version, 'bin')
    if (await access(join(bin, 'pg_basebackup')).then(() => true, () => false)) return bin
  }
  return null
}

/** A standby of a Postgres whose programs are in `bin`, with a copy of its data. */
export async function standbyFor (t: Teardown, primary: PostgresServer, bin: string): Promise<PostgresServer> {
  const dataDir = join(await ownFolder(t), 'standby')
  const user = await serverUser(dataDir)
  await mkdir(dataDir, { mode: 0o700 })
  if (user !== null) await chown(dataDir, user.uid, user.gid)
  const { command, args, ...options } = await commandAs(user, join(bin, 'pg_basebackup'), [
    '--pgdata', dataDir, '--dbname', primary.url, '--write-recovery-conf', '--checkpoint=fast', '--no-sync'
  ], [bin, dirname(dataDir)])
  await promisify(execFile)(command, args, { cwd: '/', ...options })
  const standby = await startPostgres({ dataDir, bin, settings: { fsync: 'off', max_connections: '100' } })
  t.teardown(() => standby.stop())
  return standby
}

/** A Redis of the test's own; stopped after the test, also when it is frozen. With `fsync` it has its data again after a restart. */
export async function ownRedis (t: Teardown, fsync?: RedisOptions['fsync']): Promise<RedisServer> {
  const server = await startRedis(fsync === undefined ? {} : { persistence: true, fsync, dir: await ownFolder(t) })
  t.teardown(() => server.stop())
  return server
}

/** SIGSTOP: the sockets stay open and nothing answers. */
export function freeze ({ pid }: { readonly pid: number | null }): void {
  if (pid !== null) process.kill(pid, 'SIGSTOP')
}

export function thaw ({ pid }: { readonly pid: number | null }): void {
  if (pid !== null) process.kill(pid, 'SIGCONT')
}

/** Why `freezeAll` cannot be used here; `false`: it can. */
export const cannotFreezeAll = process.platform === 'linux' ? false : 'the children of a process are found in /proc'

/** SIGSTOP to a server and all its children, a Postgres and its sessions say; resolves with what lets them go on. */
export async function freezeAll (server: { readonly pid: number | null }): Promise<() => void> {
  freeze(server) // it makes no more children
  const children = await childrenOf(server.pid)
  for (const pid of children) signal(pid, 'SIGSTOP')
  return () => {
    for (const pid of [...children, server.pid]) signal(pid, 'SIGCONT')
  }
}

async function childrenOf (parent: number | null): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const found = await Promise.all(pids.map(async (pid) => {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '') // it may have ended
    return Number(stat.slice(stat.lastIndexOf(')')).split(' ')[2]) === parent ? [Number(pid)] : []
  }))
  return found.flat()
}

function signal (pid: number | null, name: NodeJS.Signals): void {
  try {
    if (pid !== null) process.kill(pid, name)
  } catch {
    // It has ended
  }
}
