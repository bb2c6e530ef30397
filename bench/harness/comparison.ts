import { OURS } from './library.js'
import { figures, goals, table } from './report.js'
import { formatSummary, type Result } from './results.js'
import type { Metric, Sample } from './scenario.js'
import { summarize } from './statistics.js'

/**
 * The ratios of one metric, ours to theirs, one for each pair of measurements. The ratio of equal values is 1, also
 * where both are zero. A pair in which a value is missing is left out.
 */
export function ratiosOf (ours: readonly Sample[], theirs: readonly Sample[], metric: string): number[] {
  return ours.flatMap((sample, round) => {
    const our = sample[metric]
    const their = theirs[round]?.[metric]
    if (our === undefined || their === undefined) return []
    return our === their ? 1 : our / their
  })
}

/** `0.98 × of d3926e1 (0.92–1.05)`: the median of the pairs, the lowest and the highest. */
export function formatRatios (ratios: readonly number[], revision: string): string {
  return formatSummary(summarize(ratios), ` × of ${revision}`)
}

/** One scenario of a run with `--against`, in Markdown. */
export function comparison (result: Result, revision: string): string {
  const names = result.contenders.map(({ name }) => name)
  const judged = result.goals.filter(({ to }) => to === undefined || names.includes(to.contender))
  return [
    `## ${result.title}: ours to ${revision}`,
    figures(result),
    table(['', 'ours', 'pairs', ''], ratioRows(result, revision)),
    ...judged.length === 0 ? [] : [goals({ ...result, goals: judged })]
  ].join('\n\n')
}

function ratioRows ({ contenders, metrics, pairs = [] }: Result, revision: string): string[][] {
  const samplesOf = (name: string): Sample[] => contenders.find((contender) => contender.name === name)?.samples ?? []
  return pairs.flatMap(({ ours, theirs }) => Object.entries(metrics).flatMap(([name, metric]) => {
    const ratios = ratiosOf(samplesOf(ours), samplesOf(theirs), name)
    if (ratios.length === 0) return []
    const title = ours === OURS ? metric.title : `${ours}: ${metric.title}`
    return [[title, formatRatios(ratios, revision), String(ratios.length), better(metric)]]
  }))
}

/** A count is judged by what it counts. */
function better ({ unit }: Metric): string {
  return unit === '' ? '' : unit.endsWith('/s') ? 'more is better' : 'less is better'
}
