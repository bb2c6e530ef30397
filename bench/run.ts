/**
 * `npm run bench [-- SCENARIO …] [OPTIONS]`, see `--help`: measures on a private Postgres and a private Redis, and
 * writes results.md, results.json and charts/. The results of scenarios that are not run stay as they are. A quick run,
 * and one against another revision, write nothing. Exits with 1 when a count, an order or a byte was wrong; a goal that
 * is missed is in the report.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startPostgres } from '../servers/postgres.js'
import { startRedis } from '../servers/redis.js'
import { parseArguments, USAGE, type Arguments } from './harness/arguments.js'
import { createBench } from './harness/bench.js'
import { drawChart } from './harness/chart.js'
import { comparison } from './harness/comparison.js'
import { findLibrary, type Library } from './harness/library.js'
import { describeMachine, isOnDisk } from './harness/machine.js'
import { migrate } from './harness/migrate.js'
import { report, section } from './harness/report.js'
import type { Result } from './harness/results.js'
import { findRevision } from './harness/revision.js'
import { runScenario } from './harness/run-scenario.js'
import { UsageError } from './harness/usage-error.js'
import { buildRevision } from './harness/worktree.js'
import { scenarios } from './scenarios/index.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const here = join(root, 'bench')
const RESULTS = join(here, 'results.json')
const PROFILES = join(here, 'profiles')

const closers: Array<() => Promise<unknown>> = []
let interrupted = false
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, interrupt)
try {
  const parsed = parseArguments(process.argv.slice(2), scenarios.map(({ name }) => name))
  if (parsed.help) console.log(USAGE)
  else process.exitCode = await main(parsed)
} catch (error) {
  const shown = error instanceof UsageError ? error.message : error
  if (!interrupted) console.error('The benchmark could not be run:', shown)
  process.exitCode = 1
} finally {
  await close()
}

async function close (): Promise<void> {
  for (const close of closers.splice(0).reverse()) await close()
}

/** The processes that measure end with this one. Ctrl-C comes twice, from the terminal and from npm. */
async function interrupt (signal: NodeJS.Signals): Promise<void> {
  if (interrupted) return
  interrupted = true
  await close()
  process.exit(128 + constants.signals[signal])
}

async function main (options: Arguments): Promise<number> {
  const older = options.against === null ? null : await build(options.against)
  const folder = await makeFolder()
  closers.push(() => rm(folder, { recursive: true, force: true }))
  const postgres = await startPostgres({ dataDir: join(folder, 'postgres'), persistent: false })
  closers.push(() => postgres.stop())
  const redis = await startRedis()
  closers.push(() => redis.stop())
  if (redis.kind === 'js-redis-server') throw new Error('redis-server or valkey-server is needed: the stand-in would be what is measured')
  const library = await findLibrary(root)
  await migrate(postgres.url, library)
  const { rounds, quick, profile } = options
  const servers = { databaseUrl: postgres.url, redisUrl: redis.url }
  const bench = createBench(library, servers, folder, { rounds, quick, profiles: profile ? PROFILES : null })
  closers.push(bench.close)
  const rival = older && { library: older, bench: await bench.withLibrary(older), alone: options.onlyAgainst }

  const machine = await describeMachine(bench)
  let failed = 0
  for (const scenario of scenarios) {
    if (options.scenarios.length > 0 && !options.scenarios.includes(scenario.name)) continue
    const startedAt = performance.now()
    console.error(`${scenario.name} …`)
    try {
      const result = await runScenario(scenario, bench, machine, rival)
      console.log(`\n${older === null ? section(result, machine) : comparison(result, older.name)}\n`)
      console.error(`${scenario.name}: ${Math.round((performance.now() - startedAt) / 1_000)} s`)
      if (!quick && older === null) await save(result)
    } catch (error) {
      failed++
      console.error(`${scenario.name} FAILED:`, error)
    }
  }
  return failed === 0 ? 0 : 1
}

/** The revision that ours is compared with. */
async function build (text: string): Promise<Library> {
  const revision = await findRevision(root, text)
  console.error(`building ${revision.hash} (${revision.subject}) …`)
  return await buildRevision(root, revision, (close) => { closers.push(close) })
}

/** On a disk, since it is the disk that a commit waits for. */
async function makeFolder (): Promise<string> {
  for (const parent of [tmpdir(), '/var/tmp', join(root, 'node_modules')]) {
    if (await isOnDisk(parent).catch(() => false)) return await mkdtemp(join(parent, 'journal-bench-'))
  }
  throw new Error('no folder for temporary files is on a disk')
}

/** Saved one by one, so that a run that is interrupted leaves what it has. */
async function save (result: Result): Promise<void> {
  const known = await readFile(RESULTS, 'utf8').then((text) => JSON.parse(text) as Result[], () => []) // this function wrote it
  const results = scenarios.flatMap(({ name }) => name === result.name ? result : known.find((other) => other.name === name) ?? [])
  await writeFile(RESULTS, `${JSON.stringify(results, null, 2)}\n`)
  await writeFile(join(here, 'results.md'), report(results))
  await mkdir(join(here, 'charts'), { recursive: true })
  await writeFile(join(here, 'charts', `${result.name}.svg`), drawChart(result))
}
