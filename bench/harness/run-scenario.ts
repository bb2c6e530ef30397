import type { Bench } from './bench.js'
import type { Machine } from './machine.js'
import { judge, type Result } from './results.js'
import type { Contender, Sample, Scenario } from './scenario.js'

/**
 * The rounds of one scenario: in each, every contender is measured once, and another one is the first. Rejects with the
 * first thing that went wrong, once everything that was started is gone.
 */
export async function runScenario (scenario: Scenario, bench: Bench, machine: Machine): Promise<Result> {
  const { name, title, description, metrics, absent, goals } = scenario
  bench.beginScenario(name)
  try {
    const contenders = await scenario.prepare(bench)
    const samples = new Map<Contender, Sample[]>(contenders.map((contender) => [contender, []]))
    for (let round = 0; round < bench.rounds; round++) {
      for (const contender of rotated(contenders, round)) {
        if (contender.once === true && round > 0) continue
        try {
          samples.get(contender)?.push(await contender.measure())
        } catch (error) {
          throw new Error(`${name}, round ${round + 1}: ${contender.name} failed`, { cause: error })
        }
      }
    }
    const measured = contenders.map((contender) => ({ name: contender.name, what: contender.what, samples: samples.get(contender) ?? [] }))
    return {
      name, title, description, metrics, absent, machine, date: new Date().toISOString(), contenders: measured, goals: goals.map((goal) => judge(goal, measured))
    }
  } finally {
    await bench.endScenario()
  }
}

function rotated<T> (items: readonly T[], by: number): T[] {
  const from = by % items.length
  return [...items.slice(from), ...items.slice(0, from)]
}
