import { parseArgs, type ParseArgsConfig } from 'node:util'
import { UsageError } from './usage-error.js'

export interface Arguments {
  help: boolean
  /** Names of scenarios; empty: all of them. */
  scenarios: string[]
  /** With `against`, the number of pairs. */
  rounds: number
  quick: boolean
  profile: boolean
  /** A commit-ish. */
  against: string | null
  onlyAgainst: boolean
}

const DEFAULT_ROUNDS = 3
const DEFAULT_PAIRS = 7

export const USAGE = `npm run bench -- [SCENARIO …] [OPTIONS]

  SCENARIO          Runs these scenarios. Without one, all of them
  --only SCENARIO   The same
  --rounds N        Measures every contender N times (${DEFAULT_ROUNDS})
  --quick           Does a tenth of the work, once. Shows whether everything runs; its figures mean nothing
  --profile         Writes CPU profiles of the library's app to bench/profiles/
  --against REV     Compares the working tree with another revision of the project, in pairs of measurements
  --pairs N         Measures N pairs, with --against (${DEFAULT_PAIRS})
  --only-against    Leaves out the limit and the peers, with --against. Saves most of the time
  --help            Prints this

A run with --quick or with --against writes no results.`

const OPTIONS = {
  only: { type: 'string', multiple: true, default: [] },
  rounds: { type: 'string' },
  quick: { type: 'boolean', default: false },
  profile: { type: 'boolean', default: false },
  against: { type: 'string' },
  pairs: { type: 'string' },
  'only-against': { type: 'boolean', default: false },
  help: { type: 'boolean', default: false }
} satisfies ParseArgsConfig['options']

/** `known`: the scenarios that there are. Throws a {@link UsageError}. */
export function parseArguments (args: string[], known: readonly string[]): Arguments {
  const { values, positionals } = parse(args)
  const { quick, profile, against, rounds, pairs, 'only-against': onlyAgainst, help } = values
  const scenarios = [...positionals, ...values.only]
  const unknown = scenarios.find((name) => !known.includes(name))
  if (unknown !== undefined) throw new UsageError(`no scenario is called ${unknown}; there are: ${known.join(', ')}`)
  if (against === undefined) {
    if (pairs !== undefined) throw new UsageError('--pairs needs --against; without it, use --rounds')
    if (onlyAgainst) throw new UsageError('--only-against needs --against')
  } else if (rounds !== undefined) throw new UsageError('with --against, use --pairs in place of --rounds')
  return {
    help,
    scenarios,
    rounds: against === undefined
      ? wholeNumber('--rounds', rounds, quick ? 1 : DEFAULT_ROUNDS)
      : wholeNumber('--pairs', pairs, quick ? 1 : DEFAULT_PAIRS),
    quick,
    profile,
    against: against ?? null,
    onlyAgainst
  }
}

function parse (args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS, allowPositionals: true })
  } catch (error) {
    throw new UsageError(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`)
  }
}

function wholeNumber (option: string, text: string | undefined, byDefault: number): number {
  if (text === undefined) return byDefault
  if (!/^[1-9]\d*$/.test(text)) throw new UsageError(`${option} must be a whole number, at least 1, not ${text}`)
  return Number(text)
}
