import type { Contender, ContenderName, Goal, Metric, Sample, Scenario } from './scenario.js'
import type { Machine } from './machine.js'
import { summarize, type Summary } from './statistics.js'

/** What `results.json` holds of a scenario: all that the report and the chart are made of, and nothing that follows from the rest. */
export interface Result extends Pick<Scenario, 'name' | 'title' | 'description' | 'metrics' | 'absent'> {
  machine: Machine
  /** When it was measured: an ISO date. */
  date: string
  contenders: Array<Pick<Contender, 'name' | 'what'> & { samples: Sample[] }>
  goals: Goal[]
  /** By their names: ours, and the same at another revision. Only with `--against`, whose results are not written. */
  pairs?: Pair[]
}

export interface Pair {
  ours: ContenderName
  theirs: ContenderName
}

export interface Judgement {
  /** Over the rounds. */
  reached: Summary
  /** `null`: nothing was asked for. */
  met: boolean | null
}

/** The values of one metric of one contender, one a round. */
export function valuesOf (contenders: Result['contenders'], name: ContenderName, metric: string): number[] {
  return contenders.find((contender) => contender.name === name)?.samples.flatMap((sample) => sample[metric] ?? []) ?? []
}

export function judge (goal: Goal, contenders: Result['contenders']): Judgement {
  const { metric, of = 'ours', to, always = false, atMost, atLeast } = goal
  const others = to === undefined ? [] : valuesOf(contenders, to.contender, metric)
  const values = valuesOf(contenders, of, metric).map((value, round) => {
    if (to === undefined) return value
    const other = others[round] ?? NaN
    return to.by === 'ratio' ? value / other : value - other
  })
  const reached = summarize(values.length === 0 ? [NaN] : values)
  const [low, high] = always ? [reached.low, reached.high] : [reached.median, reached.median]
  const met = atMost === undefined && atLeast === undefined ? null : high <= (atMost ?? Infinity) && low >= (atLeast ?? -Infinity)
  return { reached, met }
}

export function unitOf ({ to, metric }: Goal, metrics: Record<string, Metric>): string {
  return to?.by === 'ratio' ? ' ×' : withSpace(metrics[metric]?.unit ?? '')
}

/** `12,345/s`, `1.23 ms`. */
export function withSpace (unit: string): string {
  return unit === '' || unit.startsWith('/') ? unit : ` ${unit}`
}

/** Three significant digits, or all of those before the point. */
export function formatNumber (value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return Number.isInteger(value) ? value.toLocaleString('en-US') : value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** The median, with the lowest and the highest value when there are others. */
export function formatSummary ({ median, low, high }: Summary, unit: string): string {
  const spread = low === high ? '' : ` (${formatNumber(low)}–${formatNumber(high)})`
  return `${formatNumber(median)}${unit}${spread}`
}
