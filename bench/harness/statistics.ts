export interface Summary {
  median: number
  low: number
  high: number
}

/** The value below which this share of the values lies; `sorted` in ascending order, not empty. */
export function percentile (sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
}

export function ascending (values: Iterable<number>): number[] {
  return [...values].sort((a, b) => a - b)
}

/** The middle one, or the mean of the two. */
export function median (values: readonly number[]): number {
  const sorted = ascending(values)
  const middle = sorted.length / 2
  return (percentile(sorted, 0.5) + (sorted[Math.ceil(middle) - 1] ?? NaN)) / 2
}

export function summarize (values: readonly number[]): Summary {
  return { median: median(values), low: Math.min(...values), high: Math.max(...values) }
}
