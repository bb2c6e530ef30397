import type { RateLimitedLogger } from './util/rate-limited-logger.js'
import type { PublicError } from './options.js'

/** What turns an error into a text for readers. */
export interface PublicTextContext {
  publicError: PublicError
  log: RateLimitedLogger
}

/** The text of an error for readers. If the app's function throws, readers still get a terminal event. */
export function publicText (
  { publicError, log }: PublicTextContext, error: unknown, about: Parameters<PublicError>[1]
): string {
  try {
    const text: unknown = publicError(error, about)
    if (typeof text === 'string') return text
    throw new TypeError(`publicError must return a string, not ${typeof text}`)
  } catch (failure) {
    log.error('publicError', { ...about, err: failure }, 'journal: the option publicError gave no text')
    return defaultPublicError()
  }
}

/** The text without the option `publicError`. */
export function defaultPublicError (): string {
  return 'The answer could not be completed.'
}
