/** `fastify-message-journal/client`: for browsers, and for Node 20 and later. */
export { connectEvents, type EventsOptions, type PipeEnd, type UserEvent } from './events.js'
export { JournalClientError, type ClientErrorCode } from './errors.js'
export type { Approval, Task } from './fold.js'
export { createMessageId } from './ids.js'
export {
  resumeMessage, streamMessage, type EventPayload, type MessageEnd, type MessageOptions, type ResumeMessageOptions,
  type StreamMessageOptions
} from './message.js'
export type { AuthAnswer, ConnectionOptions, HeaderFields, Health } from './options.js'
export { shareEvents, type SharedEventsOptions } from './share.js'
export { stopMessage, type StopMessageOptions } from './stop.js'
export {
  createNotificationStore, type KeyValueStorage, type NotificationSnapshot, type NotificationStore,
  type NotificationStoreOptions, type StoreConnectOptions
} from './store.js'
