import type { EndStatus } from '../wire/status.js'

/** The terminal events that the library itself writes, and the status that goes with each. */
export interface Terminal {
  status: EndStatus
  eventType: 'end' | 'error'
  payload: { type: 'end' | 'error', [field: string]: unknown }
  /** For `messages.error`. */
  error: string | null
}

/** Somebody asked for it. */
export const STOPPED: Terminal =
  { status: 'stopped', eventType: 'end', payload: { type: 'end', reason: 'stopped' }, error: null }

/** No sign of life for `producerIdleMs`. */
export const STALE: Terminal = interrupted('producer_stale', 'the producer gave no sign of life')

/** It lives, and has recorded nothing for `producerSilenceMs`. */
export const SILENT: Terminal = interrupted('producer_silent', 'the producer recorded nothing for too long')

function interrupted (code: string, error: string): Terminal {
  return {
    status: 'failed', eventType: 'error', payload: { type: 'error', error: 'The answer was interrupted.', code }, error
  }
}

/** The event of a completed message. A `type` in the payload is replaced, because readers go by it. */
export function completed (payload?: object): Terminal {
  const type = 'end' as const
  return { status: 'complete', eventType: 'end', payload: Object.assign({ type }, payload, { type }), error: null }
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

const NOT_ASCII = /[^\x20-\x7e]/g

/** The same event with its `error` in ASCII, which every database can hold. */
export function inAscii (terminal: Terminal): Terminal {
  return { ...terminal, error: terminal.error?.replaceAll(NOT_ASCII, '?') ?? null }
}

/** The text of what an app has thrown, which may be anything, and may throw when it is read. */
export function reasonOf (cause: unknown): string {
  try {
    return String(cause instanceof Error ? cause.message : cause)
  } catch {
    return 'an error that cannot be shown'
  }
}

/** The terminal event for a message whose row has a status but whose journal has no such event. */
export function matching (status: EndStatus, publicError: string): Terminal {
  if (status === 'stopped') return STOPPED
  return status === 'complete' ? completed() : failed(publicError, publicError)
}
