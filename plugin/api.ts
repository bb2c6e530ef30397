import type { FastifyReply } from 'fastify'
import type { Pool } from 'pg'
import { InvalidOptionError, NotAMessageError } from './errors.js'
import { START } from './messages/message-log.js'
import type { Messages } from './messages/messages.js'
import type { Notifications } from './notifications/notifications.js'
import { MAX_RETENTION_DAYS, type JournalOptions } from './options.js'
import { migrate } from './ops/migrate.js'
import type { Journal } from './postgres/journal.js'
import type { Viewers } from './read/viewers.js'
import { isPlainObject } from './wire/payload.js'
import { describeValue } from './wire/text.js'
import type { ClearApproval, RequestApproval } from './notifications/approvals.js'
import type { Message } from './message-handle.js'
import type { OpenMessageOptions, Produce } from './messages/producers.js'
import type { RecordEvent } from './write/recorder.js'
import { cleanup, type Cleaned, type CleanupOptions } from './ops/retention.js'
import type { TrackTask } from './notifications/tasks.js'
import type { PublishUserEvent } from './notifications/notification-publisher.js'

/** `fastify.journal`. */
export interface MessageJournal {
  recordEvent: RecordEvent
  /** Creates a message, or takes over an existing one. `Producers.openMessage` lists what it throws. */
  openMessage (options: OpenMessageOptions): Promise<Message>
  publishUserEvent: PublishUserEvent
  trackTask: TrackTask
  requestApproval: RequestApproval
  clearApproval: ClearApproval
  /** Brings the tables to version `to`; default: the newest. Any number of processes may call it at once. */
  migrate (options?: { to?: number }): Promise<{ from: number, to: number }>
  /**
   * Deletes old events, and old messages without events, in small batches. Rejects with pg's error; what was deleted by
   * then stays deleted. @throws InvalidOptionError
   */
  cleanup (options: CleanupOptions): Promise<Cleaned>
  stats (): JournalStats
}

/** What this process has open. */
export interface JournalStats {
  viewers: number
  /** Messages and users with viewers, each with one Redis subscription. */
  topics: number
  producers: number
}

/** Answers with the message's stream from its first event on. The producer runs on its own. */
export interface StreamMessage {
  (message: Message, produce: Produce): FastifyReply
  /** Opens the message first, and rejects as `openMessage` does. */
  (options: OpenMessageOptions, produce: Produce): Promise<FastifyReply>
}

/** What the app's functions call. */
export interface ApiParts {
  journal: Journal
  pool: Pool
  messages: Messages
  users: Notifications
  viewers: Viewers
}

/** Builds `fastify.journal`. */
export function createApi (
  { journal, pool, messages, users, viewers }: ApiParts, { schema }: JournalOptions
): MessageJournal {
  const { publishUserEvent, trackTask, requestApproval, clearApproval } = users
  return {
    recordEvent: messages.recordEvent,
    openMessage: messages.producers.openMessage,
    publishUserEvent,
    trackTask,
    requestApproval,
    clearApproval,
    migrate: async (wanted) => await migrate(pool, schema === undefined ? { ...wanted } : { schema, ...wanted }),
    async cleanup ({ olderThanDays }) {
      if (!Number.isInteger(olderThanDays) || olderThanDays < 1 || olderThanDays > MAX_RETENTION_DAYS) {
        const wanted = `a whole number of days, from 1 to ${MAX_RETENTION_DAYS}`
        throw new InvalidOptionError(`"olderThanDays" must be ${wanted}; got ${describeValue(olderThanDays)}`)
      }
      return await cleanup(journal, olderThanDays)
    },
    stats: () => ({
      viewers: viewers.size,
      topics: messages.feeds.size + users.feeds.size,
      producers: messages.producers.size
    })
  }
}

/** `base`: where the routes are, for the header `Location`. */
export function createStreamMessage (
  { messages, viewers }: Pick<ApiParts, 'messages' | 'viewers'>, base: () => string
): StreamMessage {
  function stream (reply: FastifyReply, message: Message, produce: Produce): FastifyReply {
    reply
      .header('x-message-id', message.messageId)
      .header('location', `${base()}/messages/${message.messageId}/events`)
    try {
      return viewers.open(reply, messages.feeds, message.messageId, { start: START })
    } finally {
      messages.producers.run(message, produce) // whoever reads, if anybody can
    }
  }

  return function (this: FastifyReply, message: Message | OpenMessageOptions, produce: Produce) {
    if (isMessage(message)) return stream(this, message, produce)
    if (isOpenMessageOptions(message)) {
      return messages.producers.openMessage(message).then((opened) => stream(this, opened, produce))
    }
    const isPromise = message as unknown instanceof Promise
    throw new NotAMessageError(isPromise ? 'a promise: an await is missing' : describeValue(message))
  } as StreamMessage
}

/** For callers without types. */
function isMessage (message: unknown): message is Message {
  const { messageId, signal } = Object(message) as Partial<Message>
  return typeof messageId === 'string' && signal instanceof AbortSignal
}

function isOpenMessageOptions (options: unknown): options is OpenMessageOptions {
  return isPlainObject(options) && !('signal' in options)
}
