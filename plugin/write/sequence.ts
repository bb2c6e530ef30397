import type { NumberedEvent, TakenRow } from '../postgres/appender.js'

/** An event that has, or wants, a number in its message. */
export interface Sequenced extends Pick<NumberedEvent, 'messageId' | 'eventType' | 'payload'> {
  sequenceNo: number
}

/** Whether the row is the very same event. */
export function isSame (row: TakenRow | undefined, event: Sequenced): boolean {
  return row !== undefined && row.eventType === event.eventType && row.payload === event.payload
}

/** Finds the row at an event's message and number. */
export function rowFinder (rows: readonly TakenRow[]): (event: Sequenced) => TakenRow | undefined {
  const places = new Map(rows.map((row) => [keyOf(row), row]))
  return (event) => places.get(keyOf(event))
}

function keyOf ({ messageId, sequenceNo }: Pick<Sequenced, 'messageId' | 'sequenceNo'>): string {
  return `${messageId} ${sequenceNo}`
}
