import type {} from '@fastify/postgres'
import type {} from '@fastify/redis'
import fp from 'fastify-plugin'
import * as errors from './errors.js'
import { parseOptions, type MessageJournalOptions } from './options.js'
import type { RecordEvent } from './write/recorder.js'
import type { MessageJournal, StreamMessage } from './api.js'
import { setup } from './setup.js'

declare module 'fastify' {
  interface FastifyInstance {
    journal: MessageJournal
  }
  interface FastifyReply {
    /** The same function as `fastify.journal.recordEvent`. */
    recordEvent: RecordEvent
    streamMessage: StreamMessage
  }
}

/**
 * Makes streamed answers durable. @fastify/postgres and @fastify/redis must be registered before it. Registration
 * rejects with FST_JOURNAL_INVALID_OPTION. The start fails with FST_JOURNAL_NOT_MIGRATED, FST_JOURNAL_DATABASE_NEWER or
 * FST_JOURNAL_UNUSABLE_TABLES when the tables are not those that this version needs.
 */
const register = fp<MessageJournalOptions>(async (app, options) => {
  await setup(app, parseOptions(options))
}, { fastify: '5.x', name: 'fastify-message-journal', dependencies: ['@fastify/postgres', '@fastify/redis'] })

/** In CommonJS `require` returns the plugin, and the other exports are its properties. */
const plugin = Object.assign(register, { messageJournal: register, errors })

export default plugin
export { plugin as messageJournal, plugin as 'module.exports' }
export type {
  AuthorizedMessage, Authorize, Identify, MessageJournalOptions, PublicError, TakeOver, UserId
} from './options.js'
export type { Message } from './message-handle.js'
export type { OpenMessageOptions, Produce } from './messages/producers.js'
export type { MessageStatus } from './wire/status.js'
export type { RecordEvent } from './write/recorder.js'
export type { Approval, ApprovalOptions, ClearApproval, RequestApproval } from './notifications/approvals.js'
export type { ReportProgress, TaskOptions, TrackTask } from './notifications/tasks.js'
export type { PublishUserEvent, UserEventOptions } from './notifications/notification-publisher.js'
export type { JournalStats, MessageJournal, StreamMessage } from './api.js'
export { errors }
