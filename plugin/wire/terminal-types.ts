import { payloadType } from './envelope.js'
import type { EndStatus } from './status.js'

/**
 * The status with which an event's type ends its message; `null`: none. It matters for a message without a lease, and
 * when a producer has recorded its own last event.
 */
export type TerminalTypes = (event: TypedEvent) => EndStatus | null

/** `payloadType`: the payload's `type`, if the caller has parsed it already. */
export interface TypedEvent {
  eventType: string
  payload: string
  payloadType?: string | undefined
}

/** `types`: the option `terminalTypes`, compared with the event's type and with its payload's. */
export function createTerminalTypes (types: readonly string[]): TerminalTypes {
  const terminal = new Set(types)

  /** Nearly no payload contains a terminal type, so few need parsing. An escape may hide one. */
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
