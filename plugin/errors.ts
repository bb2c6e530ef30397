import { createError } from '@fastify/error'

/**
 * Every error that this library throws or answers with. The README's table "Errors" has a row for each: its code, when
 * it happens, what to do.
 */

export const InvalidOptionError = createError(
  'FST_JOURNAL_INVALID_OPTION', 'fastify-message-journal: option %s', 500, TypeError)

/** `identify` named nobody. */
export const UnauthenticatedError = createError(
  'FST_JOURNAL_UNAUTHENTICATED', 'identify() named nobody for this request', 401)

/** The message does not exist, or is somebody else's: the answer is the same. */
export const MessageNotFoundError = createError('FST_JOURNAL_MESSAGE_NOT_FOUND', 'There is no such message', 404)

/** A message's id is not a UUID. */
export const InvalidMessageIdError = createError(
  'FST_JOURNAL_INVALID_MESSAGE_ID', 'messageId must be a UUID, not %s', 400)

/** A user's id is of another type. An object, say, would be the same user for everyone. */
export const InvalidUserIdError = createError(
  'FST_JOURNAL_INVALID_USER_ID', 'A user\'s id must be a string, a number or a bigint, without U+0000; got %s',
  500, TypeError)

/** `streamMessage` was given neither an open message nor options. */
export const NotAMessageError = createError(
  'FST_JOURNAL_NOT_A_MESSAGE', 'streamMessage() needs the message that openMessage() resolves with; got %s',
  500, TypeError)

/** `openMessage` was given the id of another user's message. */
export const NotOwnerError = createError(
  'FST_JOURNAL_NOT_OWNER', 'Message %s belongs to another user', 403)

/** `openMessage` with `ifExists: 'refuse'` was given the id of a message that the user already has. */
export const MessageExistsError = createError(
  'FST_JOURNAL_MESSAGE_EXISTS', 'Message %s exists already', 409)

/** Postgres could not be asked. The `cause` says why. */
export const DatabaseUnavailableError = createError(
  'FST_JOURNAL_DATABASE_UNAVAILABLE', 'The journal\'s database cannot be reached at the moment', 503)

/** COMMIT was sent, and its answer was lost. If the message was opened, it is failed as soon as that is known. */
export const OutcomeUnknownError = createError(
  'FST_JOURNAL_OUTCOME_UNKNOWN', 'It is not known whether message %s was opened: the database\'s answer was lost', 503)

/** The reason of `message.signal` after a stop request. */
export const StoppedError = createError(
  'FST_JOURNAL_STOPPED', 'Message %s was stopped', 409)

/**
 * The reason of `message.signal` when the message has another producer, was ended for lack of a sign of life, or was
 * deleted.
 */
export const FencedError = createError(
  'FST_JOURNAL_FENCED', 'Message %s is not this producer\'s any more', 409)

/** The user has `maxConnectionsPerUser` streams open. */
export const TooManyConnectionsError = createError(
  'FST_JOURNAL_TOO_MANY_CONNECTIONS', 'You have %s open streams already, which is the limit', 429)

/** Redis, which keeps the notifications, could not be asked. The `cause` says why. */
export const RedisUnavailableError = createError(
  'FST_JOURNAL_REDIS_UNAVAILABLE', 'Notifications cannot be reached at the moment', 503)

/** The user has had notifications replayed too often. More replays are possible after `retryAfterSeconds`. */
export class ReplayBudgetError extends createError<[number]>(
  'FST_JOURNAL_REPLAY_BUDGET', 'Too many replays; there are more in %s s', 429) {
  readonly retryAfterSeconds: number

  constructor (retryAfterSeconds: number) {
    super(retryAfterSeconds)
    this.retryAfterSeconds = retryAfterSeconds
  }
}

/** The server is shutting down. Also a reason of `message.signal`. */
export const ClosedError = createError('FST_JOURNAL_CLOSED', 'The server is shutting down', 503)

/** The tables are missing, or older than this code. */
export const NotMigratedError = createError(
  'FST_JOURNAL_NOT_MIGRATED',
  'The journal\'s tables are at version %s and this code needs %s: ' +
    'run "npx fastify-message-journal migrate" or set the option "migrate"', 500)

/** A newer version has migrated the tables. */
export const DatabaseNewerError = createError(
  'FST_JOURNAL_DATABASE_NEWER',
  'The journal\'s tables are at version %s, newer than this code\'s %s: deploy a newer fastify-message-journal', 500)

/** The tables have the right version, but cannot be used. */
export const UnusableTablesError = createError(
  'FST_JOURNAL_UNUSABLE_TABLES', 'The journal cannot work with its tables: %s', 500)

/** A migration failed and changed nothing. Its `cause` is pg's error. */
export const MigrationFailedError = createError(
  'FST_JOURNAL_MIGRATION_FAILED', 'The migration to version %s failed, and nothing was changed: %s', 500)
