/**
 * `npm run bench [-- --only NAME] [--rounds N] [--quick] [--profile]`: measures on a private Postgres and a private Redis, and
 * writes results.md, results.json and charts/. With `--only`, the other scenarios' results stay as they are; a quick run
 * writes nothing. Exits with 1 when a count, an order or a byte was wrong; a goal that is missed is in the report.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startPostgres } from '../demo/services/postgres.js'
import { startRedis } from '../demo/services/redis.js'
import { createBench, type BenchOptions } from './harness/bench.js'
import { drawChart } from './harness/chart.js'
import { findLibrary } from './harness/library.js'
import { describeMachine, isOnDisk } from './harness/machine.js'
import { migrate } from './harness/migrate.js'
import { report, section } from './harness/report.js'
import type { Result } from './harness/results.js'
import { runScenario } from './harness/run-scenario.js'
import type { Scenario } from './harness/scenario.js'
import { scenarios } from './scenarios/index.js'

const here = fileURLToPath(new URL('.', import.meta.url))
const RESULTS = join(here, 'results.json')
const PROFILES = join(here, 'profiles')
const DEFAULT_ROUNDS = 3

const { values: { only, rounds, quick, profile } } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: [] },
    rounds: { type: 'string' },
    quick: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false }
  }
})

const closers: Array<() => Promise<unknown>> = []
let interrupted = false
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, interrupt)
try {
  process.exitCode = await main(chosen(), { rounds: roundsOf(rounds), quick, profiles: profile ? PROFILES : null })
} catch (error) {
  console.error('The benchmark could not be run:', error)
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

function roundsOf (text: string | undefined): number {
  if (text === undefined) return quick ? 1 : DEFAULT_ROUNDS
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`--rounds must be a whole number, at least 1, not ${text}`)
  return Number(text)
}

function chosen (): readonly Scenario[] {
  for (const name of only) if (!scenarios.some((scenario) => scenario.name === name)) throw new Error(`no scenario is called ${name}; there are: ${scenarios.map(({ name }) => name).join(', ')}`)
  return only.length === 0 ? scenarios : scenarios.filter(({ name }) => only.includes(name))
}

async function main (chosen: readonly Scenario[], options: BenchOptions): Promise<number> {
  const folder = await makeFolder()
  closers.push(() => rm(folder, { recursive: true, force: true }))
  const postgres = await startPostgres({ dataDir: join(folder, 'postgres'), persistent: false })
  closers.push(() => postgres.stop())
  const redis = await startRedis()
  closers.push(() => redis.stop())
  if (redis.kind === 'js-redis-server') throw new Error('redis-server or valkey-server is needed: the stand-in would be what is measured')
  const library = await findLibrary(fileURLToPath(new URL('..', import.meta.url)))
  await migrate(postgres.url, library)
  const bench = createBench(library, { databaseUrl: postgres.url, redisUrl: redis.url }, folder, options)
  closers.push(bench.close)

  const machine = await describeMachine(bench)
  let failed = 0
  for (const scenario of chosen) {
    const startedAt = performance.now()
    console.error(`${scenario.name} …`)
    try {
      const result = await runScenario(scenario, bench, machine)
      console.log(`\n${section(result, machine)}\n`)
      console.error(`${scenario.name}: ${Math.round((performance.now() - startedAt) / 1_000)} s`)
      if (!options.quick) await save(result)
    } catch (error) {
      failed++
      console.error(`${scenario.name} FAILED:`, error)
    }
  }
  return failed === 0 ? 0 : 1
}

/** On a disk, since it is the disk that a commit waits for. */
async function makeFolder (): Promise<string> {
  for (const parent of [tmpdir(), '/var/tmp', join(here, '..', 'node_modules')]) {
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
