/**
 * How an event came to this page.
 * `live`: as it was written. `replayed`: out of the journal, after a refresh or a reconnect. `repaired`: out of the journal
 * too, on a connection that stayed open while nothing was heard of it.
 */
export type Arrival = 'live' | 'replayed' | 'repaired'

export interface Cell {
  no: number
  arrival: Arrival
}

export interface Counts extends Readonly<Record<Arrival, number>> {
  /** Events that the server sent twice on one connection, or again although the cursor had them. */
  doubled: number
  /** Numbers that were passed over. */
  missing: number
}

export interface Strip {
  /** The newest cells. */
  cells: readonly Cell[]
  counts: Counts
}

/** As many as are drawn: what came before is counted. */
const MAX_CELLS = 80

export const EMPTY_STRIP: Strip = { cells: [], counts: { live: 0, replayed: 0, repaired: 0, doubled: 0, missing: 0 } }

/** The numbers of one message's events begin at 0 and have no holes. */
export function addCell ({ cells, counts }: Strip, cell: Cell): Strip {
  const missing = cell.no - ((cells.at(-1)?.no ?? -1) + 1)
  return {
    cells: [...cells, cell].slice(-MAX_CELLS),
    counts: { ...counts, [cell.arrival]: counts[cell.arrival] + 1, missing: counts.missing + Math.max(0, missing) }
  }
}
