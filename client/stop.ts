import { follow } from './follow.js'
import type { ConnectionOptions } from './options.js'

/** Options of `stopMessage`. */
export interface StopMessageOptions extends ConnectionOptions {
  /** The message's stop route. */
  url: string
}

/** Four tries, 0, 1, 2 and 4 s apart, because a button is waiting. */
const MAX_ERRORS = 5

/**
 * Asks the server to stop a message. Its readers get the end as an event. Resolves when the server has recorded it.
 * Tries again, by default for some seconds, until there is an answer. Repeating it is harmless, also for a message that
 * has ended.
 */
export async function stopMessage ({ url, ...options }: StopMessageOptions): Promise<void> {
  await follow({
    cursor: null,
    next: () => ({ url, method: 'POST' }),
    answered: ({ ok }) => ok ? {} : undefined
  }, { maxErrors: MAX_ERRORS, ...options })
}
