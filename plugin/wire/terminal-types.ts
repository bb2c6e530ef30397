import { payloadType } from './envelope.js'
import type { EndStatus } from './status.js'

/**
 * What an event's type says of the end of its message: the status that goes with it; `null` for an event in the middle.
 * It matters while a message has no lease, and when a producer has recorded its own last event.
 */
export type TerminalTypes = (event: TypedEvent) => EndStatus | null

/** `payloadType`: the payload's `type`, for who has parsed it already. */
export interface TypedEvent {
  eventType: string
  payload: string
  payloadType?: string | undefined
}

/** `types`: the option `terminalTypes`. They are looked for in the event's type and in its payload's. */
export function createTerminalTypes (types: readonly string[]): TerminalTypes {
  const terminal = new Set(types)

  /** Nearly no payload has one of the types in its text, and need be parsed; an escape may hide one. */
  function mayHave (payload: string): boolean {
    return types.some((type) => payload.includes(type)) || payload.includes('\\')
  }

  return (event) => {
    const { eventType, payload } = event
    if (terminal.has(eventType)) return statusOf(eventType)
    const type = 'payloadType' in event ? event.payloadType : mayHave(payload) ? payloadType(payload) : undefined
    return type !== undefined && terminal.has(type) ? statusOf(type) : null
  }
}

function statusOf (type: string): EndStatus {
  return type === 'error' ? 'failed' : 'complete'
}
