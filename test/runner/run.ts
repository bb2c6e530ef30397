/**
 * `npm test [-- tap arguments]`: runs tap on a private Postgres and a private Redis, or on those that DATABASE_URL and
 * REDIS_URL name. Tests find them in TEST_DATABASE_URL, TEST_REDIS_URL and TEST_REDIS_KIND. Exits with tap's exit code,
 * and leaves no process and no folder, also when tap fails, when it is interrupted, or when a server does not start.
 *
 * `npm run test:fault [-- NAME… tap arguments]`: the same for the tests that take minutes, test/fault/NAME.long.ts. Without
 * names all of them run.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { access, chmod, constants as fsConstants, mkdtemp, readdir, rm, statfs } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { buildPage } from '../../demo/page-build.js'
import { startPostgres } from '../../servers/postgres.js'
import { describeRedis, startRedis } from '../../servers/redis.js'
import { guardProcess } from '../../servers/server-process.js'
import { compileProject } from './compile.js'
import { buildTap, TAP } from './tap.js'

const TAP_STOP_TIMEOUT_MS = 15_000
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** The first argument of `npm run test:fault`. */
const LONG = '--long'
const LONG_FOLDER = join('test', 'fault')
const LONG_FILE = /\.long\.ts$/
/** Limits have their defaults in these tests, so that many of them wait for a minute and more. */
const LONG_TAP = ['--disable-coverage', '--timeout=600']

/** A folder of Linux that is in memory, and what a run takes of it, several times over. */
const IN_MEMORY = '/dev/shm'
const ROOM_BYTES = 2 * 1024 ** 3

/** Nothing here is worth a disk write: the data dies with the run. */
const FAST = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '300' }

let tap: ChildProcess | undefined
let interruption: NodeJS.Signals | undefined
let force: NodeJS.Timeout | undefined

/** Tap and every test process it started. */
function signalTap (signal: NodeJS.Signals): void {
  if (tap?.pid === undefined) return
  try {
    process.kill(-tap.pid, signal)
  } catch {
    // All of them are gone
  }
}

function interrupt (signal: NodeJS.Signals): void {
  interruption ??= signal
  force ??= setTimeout(signalTap, TAP_STOP_TIMEOUT_MS, 'SIGKILL').unref()
  signalTap(signal)
}

/** On a disk, making and deleting hundreds of databases takes a fifth of a run's processor time. */
async function parentFolder (): Promise<string> {
  try {
    const { bavail, bsize } = await statfs(IN_MEMORY)
    await access(IN_MEMORY, fsConstants.W_OK)
    return bavail * bsize >= ROOM_BYTES ? IN_MEMORY : tmpdir()
  } catch {
    return tmpdir()
  }
}

async function describePostgres (url: string): Promise<string> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    const { rows } = await client.query<{ server_version: string }>('SHOW server_version')
    return rows[0]?.server_version ?? 'unknown'
  } finally {
    await client.end()
  }
}

/** Tap's arguments for the tests that take minutes. Throws when there is no test of a name. */
async function longTests (args: string[]): Promise<string[]> {
  const all = (await readdir(join(ROOT, LONG_FOLDER))).filter((file) => LONG_FILE.test(file)).map((file) => file.replace(LONG_FILE, ''))
  const names = args.filter((arg) => !arg.startsWith('-'))
  const unknown = names.filter((name) => !all.includes(name))
  if (unknown.length > 0) throw new Error(`there is no ${unknown.join(', ')} among the long tests: ${all.join(', ')}`)
  const files = (names.length > 0 ? names : all).map((name) => join(LONG_FOLDER, `${name}.long.js`))
  return [...LONG_TAP, ...args.filter((arg) => arg.startsWith('-')), ...files]
}

async function tapArguments ([first, ...others]: string[]): Promise<string[]> {
  if (first === LONG) return await longTests(others)
  return [first ?? [], ...others].flat().map((arg) => arg.replace(/\.(test|cases)\.ts$/, '.$1.js'))
}

/** In a session of its own, so that Ctrl-C reaches it once, from here, and nothing it started can be left over. */
async function runTap (args: string[], cwd: string, env: NodeJS.ProcessEnv): Promise<number> {
  // The tests that the stand-in cannot run leave lines that nothing else reaches
  const coverage = env.TEST_REDIS_KIND === 'js-redis-server' ? ['--allow-incomplete-coverage'] : []
  tap = spawn(process.execPath, [TAP, ...args, ...coverage], { cwd, stdio: 'inherit', detached: true, env })
  const callOffGuard = tap.pid === undefined ? () => {} : guardProcess(-tap.pid, 'SIGTERM')
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    tap?.once('error', reject)
    tap?.once('exit', (...result) => resolve(result))
  })
  clearTimeout(force)
  signalTap('SIGKILL')
  callOffGuard()
  return code ?? 128 + (signal === null ? 1 : constants.signals[signal])
}

async function main (): Promise<number> {
  const args = await tapArguments(process.argv.slice(2))
  const folder = await mkdtemp(join(await parentFolder(), 'journal-test-'))
  await chmod(folder, 0o711) // as root, Postgres runs as another user, who has to get in
  const { DATABASE_URL, REDIS_URL } = process.env
  // Both are awaited even if one fails, so that the other can be stopped
  const [postgres, redis] = await Promise.allSettled([
    DATABASE_URL ? { url: DATABASE_URL, stop: async () => {} } : startPostgres({ dataDir: join(folder, 'postgres'), persistent: false, settings: FAST }),
    REDIS_URL ? { url: REDIS_URL, stop: async () => {} } : startRedis()
  ])
  try {
    if (postgres.status === 'rejected') throw postgres.reason
    if (redis.status === 'rejected') throw redis.reason
    const databaseUrl = postgres.value.url
    const redisUrl = redis.value.url
    const [version, { kind, version: redisVersion }] = await Promise.all([describePostgres(databaseUrl), describeRedis(redisUrl)])
    console.log(`Tests run on Postgres ${version} (${DATABASE_URL ? 'DATABASE_URL' : 'private'}) and ${kind} ${redisVersion} (${REDIS_URL ? 'REDIS_URL' : 'private'})`)
    const project = join(folder, 'project')
    await buildPage(console.log)
    await buildTap(ROOT)
    await compileProject(ROOT, project)
    if (interruption !== undefined) return 128 + constants.signals[interruption]
    return await runTap(args, project, {
      ...process.env,
      TMPDIR: folder, // what a test that is killed leaves behind goes with the rest
      NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --enable-source-maps`,
      TEST_DATABASE_URL: databaseUrl,
      TEST_REDIS_URL: redisUrl,
      TEST_REDIS_KIND: kind,
      TEST_REPOSITORY: ROOT // what runs is a copy, without git
    })
  } finally {
    for (const server of [postgres, redis]) {
      if (server.status === 'fulfilled') await server.value.stop()
    }
    await rm(folder, { recursive: true, force: true })
  }
}

process.on('SIGINT', interrupt)
process.on('SIGTERM', interrupt)
try {
  process.exitCode = await main()
} catch (error) {
  console.error('The tests could not be run:', error)
  process.exitCode = 1
}
