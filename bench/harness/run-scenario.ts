import type { Bench } from './bench.js'
import type { Machine } from './machine.js'
import type { Result } from './results.js'
import type { Contender, Sample, Scenario } from './scenario.js'

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
  const contenders = await scenario.prepare(bench)
  const samples = new Map<Contender, Sample[]>(contenders.map((contender) => [contender, []]))
  for (let round = 0; round < bench.rounds; round++) {
    for (const contender of rotated(contenders, round)) {
      if (contender.once === true && round > 0) continue
      try {
        samples.get(contender)?.push(await contender.measure())
      } catch (error) {
        throw new Error(`${scenario.name}, round ${round + 1}: ${contender.name} failed`, { cause: error })
      }
    }
  }
  return contenders.map((contender) => ({ name: contender.name, what: contender.what, samples: samples.get(contender) ?? [] }))
}

function rotated<T> (items: readonly T[], by: number): T[] {
  const from = by % items.length
  return [...items.slice(from), ...items.slice(0, from)]
}
