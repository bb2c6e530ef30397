import { formatNumber, valuesOf, withSpace, type Result } from './results.js'
import type { ContenderName, Metric } from './scenario.js'
import { summarize } from './statistics.js'

/** Legible on white and on GitHub's dark background alike; there is no background of its own. */
const TEXT = '#768390'
/** Ours, whatever it is called where it is compared with itself. */
const OURS = '#3f8ae0'
const GOAL = '#cf5a4f'
const COLOURS: Record<ContenderName, string> = {
  ours: OURS,
  limit: '#8b949e',
  peer: '#c9822b',
  'resumable-stream': '#9a6fd0',
  'better-sse': '#3fa36b'
}

const WIDTH = 760
const LABEL_WIDTH = 190
const VALUE_WIDTH = 100
const BAR_WIDTH = WIDTH - LABEL_WIDTH - VALUE_WIDTH
const ROW = 28
const BAR = 16
const HEAD = 34
const GAP = 14
const FONT = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"'

/** Bars: the median of the rounds; thin lines: the lowest and the highest; dashed: the goal. SVG that needs nothing else. */
export function drawChart (result: Result): string {
  let y = 4
  const parts: string[] = []
  for (const [name, metric] of Object.entries(result.metrics)) {
    if (metric.chart !== true) continue
    const rows = result.contenders
      .map((contender) => ({ contender: contender.name, values: valuesOf(result.contenders, contender.name, name) }))
      .filter(({ values }) => values.length > 0)
    parts.push(...drawPanel(result, name, headingOf(metric), rows, y))
    y += HEAD + rows.length * ROW + GAP
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" viewBox="0 0 ${WIDTH} ${y}" role="img" ${FONT} font-size="13">`,
    `<title>${escape(result.title)}</title>`,
    ...parts,
    '</svg>',
    ''
  ].join('\n')
}

function drawPanel (result: Result, metric: string, heading: string, rows: Array<{ contender: string, values: number[] }>, top: number): string[] {
  const bound = boundOf(result, metric)
  const most = Math.max(...rows.flatMap(({ values }) => values), bound?.value ?? 0)
  const unit = withSpace(result.metrics[metric]?.unit ?? '')
  const x = (value: number) => LABEL_WIDTH + (most === 0 ? 0 : Math.max(0, value) / most * BAR_WIDTH)
  const parts = [`<text x="0" y="${top + 18}" fill="${TEXT}" font-weight="600">${escape(heading)}</text>`]
  rows.forEach(({ contender, values }, index) => {
    const { median, low, high } = summarize(values)
    const middle = top + HEAD + index * ROW + BAR / 2
    parts.push(
      `<text x="${LABEL_WIDTH - 10}" y="${middle + 4.5}" fill="${TEXT}" text-anchor="end">${escape(contender)}</text>`,
      `<rect x="${LABEL_WIDTH}" y="${middle - BAR / 2}" width="${round(Math.max(1, x(median) - LABEL_WIDTH))}" height="${BAR}" rx="2" fill="${COLOURS[contender] ?? OURS}"/>`,
      `<path d="M${round(x(low))} ${middle}H${round(x(high))}M${round(x(low))} ${middle - 4}v8M${round(x(high))} ${middle - 4}v8" stroke="${TEXT}" fill="none"/>`,
      `<text x="${WIDTH}" y="${middle + 4.5}" fill="${TEXT}" text-anchor="end">${escape(`${formatNumber(median)}${unit}`)}</text>`
    )
    if (bound?.of !== contender) return
    parts.push(`<path d="M${round(x(bound.value))} ${middle - BAR / 2 - 4}v${BAR + 8}" stroke="${GOAL}" stroke-width="2" stroke-dasharray="4 2" fill="none"><title>goal</title></path>`)
  })
  return parts
}

function headingOf ({ title, unit }: Metric): string {
  const what = unit === '/s' ? `${title} per second` : unit === '' ? title : `${title}, ${unit}`
  return `${what} (${unit.endsWith('/s') ? 'more' : 'less'} is better)`
}

/** Where the first goal of the metric lies, in the metric's own unit. */
function boundOf ({ goals, contenders }: Result, metric: string): { of: ContenderName, value: number } | null {
  const goal = goals.find((goal) => goal.metric === metric)
  const bound = goal?.atMost ?? goal?.atLeast
  if (goal === undefined || bound === undefined) return null
  const of = goal.of ?? 'ours'
  if (goal.to === undefined) return { of, value: bound }
  const { median } = summarize(valuesOf(contenders, goal.to.contender, metric))
  return { of, value: goal.to.by === 'ratio' ? median * bound : median + bound }
}

function round (value: number): number {
  return Math.round(value * 10) / 10
}

function escape (text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
