import type { Bench } from './bench.js'
import { OURS, type Library } from './library.js'
import type { Contender, Measure, Sample, Scenario } from './scenario.js'

/** A contender that takes part in a run. */
export interface Entrant extends Pick<Contender, 'name' | 'what' | 'once'> {
  measure: Measure
  samples: Sample[]
}

/** Another revision of the library, which takes part beside ours. */
export interface Rival {
  library: Library
  bench: Bench
  /** Only the library takes part: no limit, no peers. */
  alone: boolean
}

/**
 * Starts the scenario's contenders, in groups. A group is a pair, ours and the rival, which are measured one right
 * after the other; or it is one contender.
 */
export async function startEntrants (scenario: Scenario, bench: Bench, rival: Rival | null): Promise<Entrant[][]> {
  const contenders = await scenario.prepare(bench)
  if (rival === null) return await startGroups(contenders.map((contender) => [contender]))
  const others = await scenario.prepare(rival.bench)
  return await startGroups(contenders.flatMap((contender, index) => {
    const other = others[index]
    if (contender.library !== true || other === undefined) return rival.alone ? [] : [[contender]]
    const { name } = rival.library
    return [[contender, { ...other, name: rivalName(contender.name, name), what: `the same, at ${name}` }]]
  }))
}

async function startGroups (groups: Contender[][]): Promise<Entrant[][]> {
  const started: Entrant[][] = []
  for (const group of groups) {
    const entrants: Entrant[] = []
    for (const contender of group) entrants.push({ ...contender, measure: await contender.start(), samples: [] })
    started.push(entrants)
  }
  return started
}

/** `d3926e1`; `d3926e1, at once`; `1,000 rows, d3926e1`. */
export function rivalName (name: string, revision: string): string {
  return name.startsWith(OURS) ? name.replace(OURS, revision) : `${name}, ${revision}`
}

/**
 * The order of one round. Each round begins with another group. Within a pair, ours is first in one round and the rival
 * in the next: neither gains by a drift of the machine, or by its place.
 */
export function orderOf (groups: readonly Entrant[][], round: number): Entrant[] {
  const from = round % Math.max(1, groups.length)
  const rotated = [...groups.slice(from), ...groups.slice(0, from)]
  return rotated.flatMap((group) => round % 2 === 0 ? group : group.toReversed())
}
