import { follow } from './follow.js'
import type { ConnectionOptions } from './options.js'

/** Options of `stopMessage`. */
export interface StopMessageOptions extends ConnectionOptions {
  /** The message's stop route. */
  url: string
}

/** A button is waiting: 0 + 1 + 2 + 4 s. */
const MAX_ERRORS = 5

/**
 * Asks the server to stop a message; its readers get the end as an event. Resolves once the server has recorded it.
 * Tried again, by default for some seconds, until there is an answer: repeating it is harmless, also for a message that
 * has ended.
 */
export async function stopMessage ({ url, ...options }: StopMessageOptions): Promise<void> {
  await follow({
    cursor: null,
    next: () => ({ url, method: 'POST' }),
    answered: ({ ok }) => ok ? {} : undefined
  }, { maxErrors: MAX_ERRORS, ...options })
}
