import fc from 'fast-check'
import { setMaxListeners } from 'node:events'
import { faults, type Fault } from './program.js'

/** PROGRAMS: how many. FC_SEED and FC_PATH, as a failure prints them, repeat one; it is then also made smaller. */
const { PROGRAMS, FC_SEED, FC_PATH } = process.env
const PROGRAMS_PER_RUN = 20
/** A reader that has not finished by then never will. */
const DEADLINE_MS = 25_000

export interface ProgramRunner<Program> {
  program: fc.Arbitrary<Program>
  /** Unless PROGRAMS says otherwise. */
  count: number
  /** Resolves with what is wrong; gives up when `signal` aborts. */
  execute (program: Program, signal: AbortSignal): Promise<string[]>
  cause (fault: Fault): Promise<void>
}

/** Runs random programs, some at once, under random faults. Rejects with what is wrong, and with the seed that repeats it. */
export async function runPrograms<Program> ({ program, count, execute, cause }: ProgramRunner<Program>): Promise<void> {
  const property = fc.asyncProperty(fc.array(program, { minLength: PROGRAMS_PER_RUN, maxLength: PROGRAMS_PER_RUN }), faults, async (programs, faults) => {
    const { signal, abort } = deadline()
    const [complaints] = await Promise.all([
      Promise.all(programs.map((program) => execute(program, signal))),
      (async () => { for (const fault of faults) await cause(fault) })()
    ]).finally(abort)
    if (complaints.flat().length > 0) throw new Error(complaints.flat().join('\n'))
  })
  await fc.assert(property, {
    numRuns: Math.ceil(Number(PROGRAMS ?? count) / PROGRAMS_PER_RUN),
    endOnFailure: FC_SEED === undefined,
    ...FC_SEED !== undefined && { seed: Number(FC_SEED) },
    ...FC_PATH !== undefined && { path: FC_PATH }
  })
}

function deadline (): { signal: AbortSignal, abort: () => void } {
  const controller = new AbortController()
  setMaxListeners(Infinity, controller.signal) // every client of a run listens
  const timer = setTimeout(() => { controller.abort() }, DEADLINE_MS)
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
