import { isDeepStrictEqual } from 'node:util'
import type { Machine } from './machine.js'
import { formatSummary, judge, unitOf, valuesOf, withSpace, type Result } from './results.js'
import { summarize } from './statistics.js'

const INTRODUCTION = `# What it costs

\`npm run bench\` writes this file. \`ours\` is this library as it ships. The *limit* does the least that could do the same. The *peer*
is the handler that teams write today ([peers/handwritten.ts](peers/handwritten.ts)): one INSERT and then one PUBLISH for each event, a Redis
connection for each viewer, the whole backlog in one read. \`resumable-stream\` and \`better-sse\` are in the scenarios that they can do; neither
keeps anything that would survive its process. All of a scenario's contenders were measured in one run, in turn, on private servers with
their default durability (\`fsync\` and \`synchronous_commit\` on).

Figures are the median of the rounds, and in brackets the lowest and the highest. A ratio is taken within each round. The absolute figures
say something of the machine; the ratios, of the software.`

/** The report in Markdown; the scenarios in the order in which they come. */
export function report (results: readonly Result[]): string {
  const latest = results.toSorted((a, b) => a.date.localeCompare(b.date)).at(-1)
  if (latest === undefined) return `${INTRODUCTION}\n`
  return [
    INTRODUCTION,
    describe(latest.machine),
    '## Goals',
    table(['scenario', 'goal', 'reached', ''], results.flatMap((result) => goalRows(result).map((row, index) => [index === 0 ? `[${result.name}](#${anchor(result.title)})` : '', ...row]))),
    ...results.map((result) => section(result, latest.machine)),
    ''
  ].join('\n\n')
}

/** One scenario, as it is shown while the run goes on. */
export function section (result: Result, machine: Machine): string {
  return [
    `## ${result.title}`,
    result.description,
    figures(result),
    ...Object.entries(result.absent).map(([name, why]) => `Without ${name}: ${why}.`),
    goals(result),
    `![${result.title}](charts/${result.name}.svg)`,
    ...isDeepStrictEqual(result.machine, machine) ? [] : [`Measured on ${result.date}. ${describe(result.machine)}`]
  ].join('\n\n')
}

/** A row for each contender. */
export function figures (result: Pick<Result, 'contenders' | 'metrics'>): string {
  const metrics = Object.entries(result.metrics)
  return table(['', '', ...metrics.map(([, { title }]) => title)], result.contenders.map(({ name, what }) => [
    name === 'ours' ? '**ours**' : name,
    what,
    ...metrics.map(([metric, { unit }]) => {
      const values = valuesOf(result.contenders, name, metric)
      return values.length === 0 ? '–' : formatSummary(summarize(values), withSpace(unit))
    })
  ]))
}

export function goals (result: Pick<Result, 'contenders' | 'metrics' | 'goals'>): string {
  return table(['goal', 'reached', ''], goalRows(result))
}

function goalRows (result: Pick<Result, 'contenders' | 'metrics' | 'goals'>): string[][] {
  return result.goals.map((goal) => {
    const { reached, met } = judge(goal, result.contenders)
    return [goal.text, formatSummary(reached, unitOf(goal, result.metrics)), met === null ? 'no goal is set' : met ? 'met' : '**missed**']
  })
}

function describe ({ cpu, cores, memoryGiB, system, disk, versions }: Machine): string {
  const list = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(' · ')
  return `Machine: ${cpu}, ${cores} cores, ${memoryGiB} GiB; ${system}; ${disk}. Versions: ${list}.`
}

/** As GitHub makes it of a heading. */
function anchor (title: string): string {
  return title.toLowerCase().replaceAll(/[^\w\- ]/g, '').replaceAll(' ', '-')
}

export function table (head: string[], rows: string[][]): string {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}
