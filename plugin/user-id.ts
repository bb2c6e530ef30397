import { InvalidUserIdError } from './errors.js'
import { describeValue } from './wire/text.js'

/** The text of a user's id; `null`: nobody. @throws InvalidUserIdError */
export function userIdText (userId: unknown): string | null {
  if (userId === null || userId === undefined || userId === '' || userId === false || Number.isNaN(userId)) return null
  const isId = typeof userId === 'number' || typeof userId === 'bigint' ||
    (typeof userId === 'string' && !userId.includes('\0'))
  if (!isId) throw new InvalidUserIdError(describeValue(userId))
  return String(userId)
}
