import type { Bench } from './bench.js'
import { orderOf, startEntrants, type Entrant, type Rival } from './entrants.js'
import type { Machine } from './machine.js'
import type { Pair, Result } from './results.js'
import type { Scenario } from './scenario.js'

/**
 * The rounds of one scenario: in each, every contender is measured once, and another one is the first. Rejects with the
 * first thing that went wrong, once everything that was started is gone.
 */
export async function runScenario (
  scenario: Scenario,
  bench: Bench,
  machine: Machine,
  rival: Rival | null
): Promise<Result> {
  const { name, title, description, metrics, absent, goals } = scenario
  bench.beginScenario(name)
  let measured: Pick<Result, 'contenders' | 'pairs'>
  try {
    measured = await measureRounds(scenario, bench, rival)
  } catch (error) {
    await bench.endScenario().catch(() => {}) // what it would say follows from the error, or is the lesser one
    throw error
  }
  await bench.endScenario()
  return { name, title, description, metrics, absent, goals, machine, date: new Date().toISOString(), ...measured }
}

async function measureRounds (
  scenario: Scenario,
  bench: Bench,
  rival: Rival | null
): Promise<Pick<Result, 'contenders' | 'pairs'>> {
  const groups = await startEntrants(scenario, bench, rival)
  for (let round = 0; round < bench.rounds; round++) {
    for (const { name, once, measure, samples } of orderOf(groups, round)) {
      if (once === true && round > 0) continue
      try {
        samples.push(await measure())
      } catch (error) {
        throw new Error(`${scenario.name}, round ${round + 1}: ${name} failed`, { cause: error })
      }
    }
  }
  const contenders = groups.flat().map(({ name, what, samples }) => ({ name, what, samples }))
  return rival === null ? { contenders } : { contenders, pairs: groups.flatMap(pairOf) }
}

function pairOf ([ours, theirs]: Entrant[]): Pair[] {
  return ours === undefined || theirs === undefined ? [] : [{ ours: ours.name, theirs: theirs.name }]
}
