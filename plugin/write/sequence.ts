import type { NumberedEvent, TakenRow } from '../postgres/appender.js'

/** An event that has, or wants, a number in its message. */
export interface Sequenced extends Pick<NumberedEvent, 'messageId' | 'eventType' | 'payload'> {
  sequenceNo: number
}

/** Whether the row is the very same event. */
export function isSame (row: TakenRow | undefined, event: Sequenced): boolean {
  return row !== undefined && row.eventType === event.eventType && row.payload === event.payload
}

/** The rows by their message and number. */
export function byPlace (rows: readonly TakenRow[]): (event: Sequenced) => TakenRow | undefined {
  const places = new Map(rows.map((row) => [placeOf(row), row]))
  return (event) => places.get(placeOf(event))
}

function placeOf ({ messageId, sequenceNo }: Pick<Sequenced, 'messageId' | 'sequenceNo'>): string {
  return `${messageId} ${sequenceNo}`
}
