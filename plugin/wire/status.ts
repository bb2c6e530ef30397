/** `messages.status`, which every program that shares the tables reads and writes. */
export type MessageStatus = 'streaming' | 'complete' | 'failed' | 'stopped'

/** How a message has ended. */
export type EndStatus = Exclude<MessageStatus, 'streaming'>
