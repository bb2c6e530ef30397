import fc from 'fast-check'
import { setMaxListeners } from 'node:events'
import type { Fault } from './program.js'

/**
 * PROGRAMS: how many; each run then says how long it took. AT_ONCE: how many a run has. FC_SEED: the first of the runs' seeds, by default
 * a random one. FC_PATH, as a failure prints it, repeats one with its seed; it is then also made smaller.
 */
const { PROGRAMS, AT_ONCE, FC_SEED, FC_PATH } = process.env
const MAX_SEED = 1_000_000_000
/** How many programs meet a known failure. */
const KNOWN_AT_ONCE = 8

/** Faults under which programs have failed. `seed`: of the programs that they meet from now on. */
export interface KnownFailure {
  seed: number
  faults: Fault[]
}

export interface ProgramRunner<Program> {
  /** For the line about the runs: what the faults are. */
  under: string
  program: fc.Arbitrary<Program>
  faults: fc.Arbitrary<Fault[]>
  /** They run first, unless one of the variables above is set. */
  known?: KnownFailure[]
  /** Unless PROGRAMS says otherwise. */
  count: number
  /** How many run at once, by default 20. */
  atOnce?: number
  /** A reader that has not finished by then never will; by default 60,000: it may have to wait for a processor. */
  deadlineMs?: number
  /** Resolves with what is wrong; gives up when `signal` aborts. `faults`: those of the run. */
  execute (program: Program, signal: AbortSignal, faults: readonly Fault[]): Promise<string[]>
  inject (fault: Fault): Promise<void>
}

/**
 * Runs random programs, some at once, under random faults. Rejects with what is wrong, and with the seed that repeats it; resolves
 * with a line about the runs. Each run has a seed of its own.
 */
export async function runPrograms<Program> (runner: ProgramRunner<Program>): Promise<string> {
  const { under, program, faults, known = [], count, deadlineMs = 60_000, execute, inject: cause } = runner
  const atOnce = Number(AT_ONCE ?? runner.atOnce ?? 20)
  const property = fc.asyncProperty(fc.array(program, { minLength: atOnce, maxLength: atOnce }), faults, async (programs, faults) => {
    const { signal, abort } = deadline(deadlineMs)
    const [complaints] = await Promise.all([
      Promise.all(programs.map((program) => execute(program, signal, faults))),
      (async () => { for (const fault of faults) await cause(fault) })()
    ]).finally(abort)
    if (complaints.flat().length > 0) throw new Error(complaints.flat().join('\n'))
  })
  if (FC_PATH !== undefined) {
    await fc.assert(property, { seed: Number(FC_SEED), path: FC_PATH })
    return `seed ${FC_SEED}, path ${FC_PATH}: no complaint`
  }
  for (const { seed, faults } of PROGRAMS ?? FC_SEED ? [] : known) {
    const programs = fc.sample(program, { seed, numRuns: KNOWN_AT_ONCE })
    await fc.assert(property, { numRuns: 1, examples: [[programs, faults]], endOnFailure: true })
  }
  const runs = Math.ceil(Number(PROGRAMS ?? count) / atOnce)
  const first = FC_SEED === undefined ? Math.floor(Math.random() * MAX_SEED) : Number(FC_SEED)
  for (let seed = first; seed < first + runs; seed++) {
    const startedAt = performance.now()
    await fc.assert(property, { seed, numRuns: 1, endOnFailure: true })
    if (PROGRAMS !== undefined) console.log(`# seed ${seed}: ${atOnce} programs, ${Math.round(performance.now() - startedAt)} ms`)
  }
  return `seeds ${first} to ${first + runs - 1}: ${runs * atOnce} programs, ${under}, no complaint`
}

function deadline (ms: number): { signal: AbortSignal, abort: () => void } {
  const controller = new AbortController()
  setMaxListeners(Infinity, controller.signal) // every client of a run listens
  const timer = setTimeout(() => { controller.abort() }, ms)
  return {
    signal: controller.signal,
    abort () {
      clearTimeout(timer)
      controller.abort()
    }
  }
}

/** Resolves when `work` does, or when `signal` aborts; rejects as `work` does. */
export async function orAborted (signal: AbortSignal, work: Promise<unknown>): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    signal.addEventListener('abort', () => { resolve() }, { once: true })
    work.then(() => { resolve() }, reject)
  })
}
