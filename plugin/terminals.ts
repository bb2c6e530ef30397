import type { MessageStatus } from './journal.js'

/** The terminal events that the library itself writes, and the status that goes with each. */
export interface Terminal {
  status: MessageStatus
  eventType: 'end' | 'error'
  payload: { type: 'end' | 'error', [field: string]: unknown }
  /** For `messages.error`. */
  error: string | null
}

/** Somebody asked for it. */
export const STOPPED: Terminal = { status: 'stopped', eventType: 'end', payload: { type: 'end', reason: 'stopped' }, error: null }

/** No heartbeat for `producerIdleMs`. */
export const STALE: Terminal = {
  status: 'failed',
  eventType: 'error',
  payload: { type: 'error', error: 'The answer was interrupted.', code: 'producer_stale' },
  error: 'the producer gave no sign of life'
}

/** Readers go by the `type`, so that the payload's own gives way. */
export function completed (payload?: object): Terminal {
  return { status: 'complete', eventType: 'end', payload: Object.assign({ type: 'end' as const }, payload, { type: 'end' as const }), error: null }
}

/** `text` is what readers see; `cause` stays in the table. */
export function failed (text: string, cause: unknown): Terminal {
  return {
    status: 'failed',
    eventType: 'error',
    payload: { type: 'error', error: text, code: 'producer_failed' },
    error: reasonOf(cause)
  }
}

/** What an app throws may be anything, and may throw again when it is looked at. */
function reasonOf (cause: unknown): string {
  try {
    return String(cause instanceof Error ? cause.message : cause)
  } catch {
    return 'an error that cannot be shown'
  }
}

/** For a row that says how the message ended while its journal does not. */
export function matching (status: Exclude<MessageStatus, 'streaming'>, publicError: string): Terminal {
  if (status === 'stopped') return STOPPED
  return status === 'complete' ? completed() : failed(publicError, publicError)
}
