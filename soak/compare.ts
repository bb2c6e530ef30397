import { crc32 } from 'node:zlib'
import { keepSlowest, type Comparison, type Delivery } from './wire.js'

export interface CommittedRow {
  id: number
  data: string
  committedAt: number
}

/** What one reader received, a column each. */
export interface Reading {
  ids: number[]
  checksums: number[]
  deliveredAt: number[]
  /** Since when the reader had been there, as far as it was its own doing. */
  presentSince: number[]
  /** Of the first event after each cut: which of `ids` it is, when the connection broke, and when the next one stood. */
  cuts: Array<{ place: number, cutAt: number, openedAt: number }>
  /** It left, and did not come back. */
  abandoned: boolean
}

/** Every reader must have every row, once, in order; one that left, those up to its last. */
export function compare (rows: readonly CommittedRow[], readings: readonly Reading[]): Comparison {
  const slowest = new Map<number, Delivery>()
  const comparison: Comparison = { rows: readings.every(({ abandoned }) => abandoned) ? null : rows.length, delivered: 0, lost: 0, doubled: 0, reordered: 0, slowest: [], gaps: [] }
  const byId = new Map(rows.map((row) => [row.id, { ...row, checksum: crc32(row.data) }]))
  for (const { ids, checksums, deliveredAt, presentSince, cuts, abandoned } of readings) {
    for (const { place, cutAt, openedAt } of cuts) {
      const row = byId.get(ids[place] ?? -1)
      if (row !== undefined && row.committedAt <= openedAt) comparison.gaps.push((deliveredAt[place] ?? 0) - cutAt)
    }
    const seen = new Set<number>()
    let last = -1
    for (const [place, id] of ids.entries()) {
      const row = byId.get(id)
      if (seen.has(id)) comparison.doubled++
      else if (id < last) comparison.reordered++
      last = Math.max(last, id)
      if (row === undefined || row.checksum !== checksums[place]) continue // another event than the row's: the row counts as lost
      seen.add(id)
      const delivery = { committedAt: row.committedAt, deliveredAt: deliveredAt[place] ?? 0 }
      if (row.committedAt >= (presentSince[place] ?? Infinity)) keepSlowest(slowest, delivery)
    }
    comparison.delivered += ids.length
    const due = abandoned ? rows.filter(({ id }) => id <= last) : rows
    comparison.lost += due.filter(({ id }) => !seen.has(id)).length
  }
  comparison.slowest = [...slowest.values()]
  return comparison
}
