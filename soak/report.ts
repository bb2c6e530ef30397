import type { FaultWindow } from './chaos.js'
import type { Memory } from './fleet.js'
import { latency, type Comparison, type Delivery } from './wire.js'

export interface Totals extends Omit<Comparison, 'slowest' | 'gaps' | 'rows'> {
  messages: number
  readers: number
  /** Events whose writer was told `true`. */
  acknowledged: number
  /** Events whose writer was told `false`. */
  refused: number
  /** `true` without a row, `false` with one, unless the log says `outcome unknown`. */
  wrong: number
  /** Events whose outcome the log calls unknown, and how many of them have a row. */
  unknown: number
  unknownWithRow: number
  rows: number
  /** Processes that ended by themselves. */
  crashes: number
}

export interface MemoryRow {
  process: string
  start: Memory
  end: Memory
}

/** The report in Markdown. */
export function report (
  totals: Totals, windows: readonly FaultWindow[], deliveries: readonly Delivery[], gaps: readonly number[], memory: readonly MemoryRow[]
): string {
  const sorted = gaps.toSorted((a, b) => a - b)
  const rows: Array<[string, string | number]> = [
    ['messages', totals.messages],
    ['readers', totals.readers],
    ['events recorded (`true`)', totals.acknowledged],
    ['events refused (`false`)', totals.refused],
    ['rows, terminal events included', totals.rows],
    ['events delivered', totals.delivered],
    ['**lost**', `**${totals.lost}**`],
    ['**doubled**', `**${totals.doubled}**`],
    ['**reordered**', `**${totals.reordered}**`],
    ['**wrong answers**', `**${totals.wrong}**`],
    ['logged as `outcome unknown`, and of those with a row', `${totals.unknown}, ${totals.unknownWithRow}`],
    ['cuts by which a reader missed something', sorted.length],
    ['from the cut to the first missed event: p50, p99', `${milliseconds(percentile(sorted, 0.5))}, ${milliseconds(percentile(sorted, 0.99))}`],
    ['processes that crashed by themselves', totals.crashes]
  ]
  return [
    table(['', ''], rows),
    table(['fault', 'times', 'longest time from commit to delivery'], latencies(windows, deliveries)),
    table(['process', 'heap at start, after gc', 'at end', 'resident at start', 'at end'], memory.map(({ process, start, end }) => [
      process, mebibytes(start.heapBytes), mebibytes(end.heapBytes), mebibytes(start.rssBytes), mebibytes(end.rssBytes)
    ]))
  ].join('\n\n')
}

/** A delivery is put down to every fault that was in effect at some time between the commit and the delivery. */
function latencies (windows: readonly FaultWindow[], deliveries: readonly Delivery[]): Array<[string, number, string]> {
  const longest = new Map<string, number>()
  const note = (kind: string, delivery: Delivery) => { longest.set(kind, Math.max(longest.get(kind) ?? 0, latency(delivery))) }
  for (const delivery of deliveries) {
    const during = windows.filter(({ from, to }) => delivery.committedAt <= to && delivery.deliveredAt >= from)
    for (const { kind } of during) note(kind, delivery)
    if (during.length === 0) note('none', delivery)
  }
  const kinds = [...new Set(windows.map(({ kind }) => kind))].sort()
  return [...kinds, 'none'].map((kind) => [kind, windows.filter((window) => window.kind === kind).length, milliseconds(longest.get(kind))])
}

function percentile (sorted: readonly number[], share: number): number | undefined {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}

function milliseconds (ms: number | undefined): string {
  return ms === undefined ? '–' : `${Math.max(0, Math.round(ms))} ms`
}

function mebibytes (bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`
}

function table (head: string[], rows: Array<Array<string | number>>): string {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}
