import type { Bench } from './bench.js'

/** The values of one measurement, by the names of the scenario's metrics. */
export type Sample = Record<string, number>

export interface Metric {
  title: string
  /** Behind the number; empty for a count. */
  unit: string
  /** Drawn in the chart. */
  chart?: boolean
}

/** One measurement. Throws when a count, an order or a byte is wrong. A metric that it has no value for is left out. */
export type Measure = () => Promise<Sample>

/** Somebody who does the scenario's work. */
export interface Contender {
  name: ContenderName
  /** What it is, in a few words. */
  what: string
  /** Measured in the first round only, where it takes long. */
  once?: boolean
  /** It runs the library. With `--against`, the older revision does the same, as a contender of its own. */
  library?: boolean
  /** Starts what this contender needs and warms it up; called at most once. */
  start (): Measure | Promise<Measure>
}

/** `ours` and the three kinds it is compared with; a scenario that compares ours with ours names them as it likes. */
export type ContenderName = 'ours' | 'limit' | 'peer' | 'resumable-stream' | 'better-sse' | (string & {})

export interface Goal {
  /** As the issue has it. */
  text: string
  metric: string
  /** Default: `ours`. */
  of?: ContenderName
  /** What it is compared with, in the same round: their quotient, or their difference. Left out: the value itself. */
  to?: { contender: ContenderName, by: 'ratio' | 'difference' }
  atMost?: number
  atLeast?: number
  /** Every round must reach it, where otherwise their median must. */
  always?: boolean
}

/** One file in `bench/scenarios/` a scenario. */
export interface Scenario {
  /** For `--only`, and of its chart. */
  name: string
  title: string
  /** What is done and how it is checked, in Markdown. */
  description: string
  metrics: Record<string, Metric>
  goals: Goal[]
  /** Why a contender is not there. */
  absent: Partial<Record<ContenderName, string>>
  /**
   * Starts the load and fills the tables. What it starts through `bench` is ended after the scenario. With `--against`,
   * it is called once for each of the two revisions, with a bench that has that revision's database.
   */
  prepare (bench: Bench): Promise<Contender[]>
}
