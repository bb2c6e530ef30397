import type { Bench } from './bench.js'
import type { Machine } from './machine.js'
import type { Result } from './results.js'
import type { Contender, Measure, Sample, Scenario } from './scenario.js'

interface Entrant extends Contender {
  measure: Measure
  samples: Sample[]
}

/**
 * The rounds of one scenario: in each, every contender is measured once, and another one is the first. Rejects with the
 * first thing that went wrong, once everything that was started is gone.
 */
export async function runScenario (scenario: Scenario, bench: Bench, machine: Machine): Promise<Result> {
  const { name, title, description, metrics, absent, goals } = scenario
  bench.beginScenario(name)
  let result: Result
  try {
    const contenders = await measureRounds(scenario, bench)
    result = { name, title, description, metrics, absent, goals, machine, date: new Date().toISOString(), contenders }
  } catch (error) {
    await bench.endScenario().catch(() => {}) // what it would say follows from the error, or is the lesser one
    throw error
  }
  await bench.endScenario()
  return result
}

async function measureRounds (scenario: Scenario, bench: Bench): Promise<Result['contenders']> {
  const entrants: Entrant[] = []
  for (const contender of await scenario.prepare(bench)) {
    entrants.push({ ...contender, measure: await contender.start(), samples: [] })
  }
  for (let round = 0; round < bench.rounds; round++) {
    for (const { name, once, measure, samples } of rotated(entrants, round)) {
      if (once === true && round > 0) continue
      try {
        samples.push(await measure())
      } catch (error) {
        throw new Error(`${scenario.name}, round ${round + 1}: ${name} failed`, { cause: error })
      }
    }
  }
  return entrants.map(({ name, what, samples }) => ({ name, what, samples }))
}

function rotated<T> (items: readonly T[], by: number): T[] {
  const from = by % items.length
  return [...items.slice(from), ...items.slice(0, from)]
}
