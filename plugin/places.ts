import type { NewEvent, TakenRow } from './journal.js'

/**
 * Gives each event of a batch a free place, in the order of the batch, as if the events had been recorded one by
 * one: an event that stands in its place already is `repeated`; one whose place is taken by a different event moves
 * to its message's latest number plus one (its `sequenceNo` is changed). The rest of a batch is not disturbed.
 */
export function findPlaces<E extends NewEvent> (events: E[], { taken, latest }: { taken: TakenRow[], latest: Map<string, number> }): { repeated: E[], free: E[] } {
  const occupied = new Map<string, NewEvent | TakenRow>(taken.map((row) => [place(row), row]))
  const newest = new Map(latest)
  const repeated: E[] = []
  const free: E[] = []
  for (const event of events) {
    const standing = occupied.get(place(event))
    if (standing !== undefined && isSame(standing, event)) {
      repeated.push(event)
      continue
    }
    const last = newest.get(event.messageId) ?? -1
    if (standing !== undefined) event.sequenceNo = last + 1
    occupied.set(place(event), event)
    newest.set(event.messageId, Math.max(last, event.sequenceNo))
    free.push(event)
  }
  return { repeated, free }
}

function place ({ messageId, sequenceNo }: { messageId: string, sequenceNo: number }): string {
  return `${messageId} ${sequenceNo}`
}

function isSame (a: NewEvent | TakenRow, b: NewEvent): boolean {
  return a.eventType === b.eventType && a.payload === b.payload
}
