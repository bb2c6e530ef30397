import type { NewEvent, TakenRow } from './appender.js'

export interface Places<E> {
  /** Stand in the table already. */
  repeated: E[]
  /** Have a place of their own now, if their writers may write. */
  free: E[]
  /** Repeat an event of `free`: what becomes of that one must be known first. */
  echoes: E[]
}

/**
 * Gives each event of a batch a free place, in the order of the batch, as if the events had been recorded one by
 * one: an event that stands in its place already is `repeated`; one whose place is taken by a different event moves
 * to its message's latest number plus one (its `sequenceNo` is changed). The rest of a batch is not disturbed.
 */
export function findPlaces<E extends NewEvent> (events: E[], { taken, latest }: { taken: TakenRow[], latest: Map<string, number> }): Places<E> {
  const standing = new Map<string, TakenRow>(taken.map((row) => [place(row), row]))
  const placed = new Map<string, NewEvent>()
  const newest = new Map(latest)
  const epochs = newestEpochs(events)
  const places: Places<E> = { repeated: [], free: [], echoes: [] }
  for (const event of events) {
    const row = standing.get(place(event))
    const other = placed.get(place(event))
    if (row !== undefined && isSame(row, event)) {
      places.repeated.push(event)
    } else if (isFenced(event, epochs)) {
      places.free.push(event) // it will be refused, and must not push its successor's events aside
    } else if (other !== undefined && event.epoch === null && isSame(other, event)) {
      places.echoes.push(event)
    } else {
      const last = newest.get(event.messageId) ?? -1
      if (row !== undefined || other !== undefined || event.sequenceNo < last) event.sequenceNo = last + 1
      placed.set(place(event), event)
      newest.set(event.messageId, Math.max(last, event.sequenceNo))
      places.free.push(event)
    }
  }
  return places
}

/** Whether every event of the batch comes behind all that is there, and behind those before it. */
export function isInOrder (events: readonly NewEvent[], latest: ReadonlyMap<string, number>): boolean {
  const newest = new Map(latest)
  for (const event of events) {
    const last = newest.get(event.messageId) ?? -1
    if (event.sequenceNo <= last) return false
    newest.set(event.messageId, event.sequenceNo)
  }
  return true
}

/** For each message in which the events, all in order, leave numbers out: the last number behind such a hole. */
export function findHoles (events: readonly NewEvent[], latest: ReadonlyMap<string, number>): Map<string, number> {
  const newest = new Map(latest)
  const holes = new Map<string, number>()
  for (const { messageId, sequenceNo } of events) {
    if (sequenceNo > (newest.get(messageId) ?? -1) + 1) holes.set(messageId, sequenceNo)
    newest.set(messageId, sequenceNo)
  }
  return holes
}

/** The newest epoch that the batch itself knows of, for each message that has one. */
function newestEpochs (events: readonly NewEvent[]): Map<string, number> {
  const epochs = new Map<string, number>()
  for (const { messageId, epoch } of events) {
    if (epoch !== null) epochs.set(messageId, Math.max(epochs.get(messageId) ?? epoch, epoch))
  }
  return epochs
}

function isFenced ({ messageId, epoch }: NewEvent, epochs: ReadonlyMap<string, number>): boolean {
  return epoch !== null && epoch !== epochs.get(messageId)
}

function place ({ messageId, sequenceNo }: { messageId: string, sequenceNo: number }): string {
  return `${messageId} ${sequenceNo}`
}

function isSame (a: NewEvent | TakenRow, b: NewEvent): boolean {
  return a.eventType === b.eventType && a.payload === b.payload
}
