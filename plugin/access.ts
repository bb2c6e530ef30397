import type { FastifyRequest } from 'fastify'
import { DatabaseUnavailableError, MessageNotFoundError, UnauthenticatedError } from './errors.js'
import type { Journal, MessageState } from './journal.js'
import type { JournalOptions } from './options.js'

/** Who may see what. */
export interface Access {
  /** The caller's id; `null` when `identify` is false. @throws UnauthenticatedError */
  identify (request: FastifyRequest): Promise<string | null>
  /** @throws MessageNotFoundError, for a message that does not exist and for one that is not the caller's alike; DatabaseUnavailableError */
  findMessage (request: FastifyRequest, userId: string | null, messageId: string): Promise<MessageState>
}

export function createAccess (journal: Journal, { identify, authorize }: Pick<JournalOptions, 'identify' | 'authorize'>): Access {
  async function mayRead (request: FastifyRequest, userId: string | null, { last, ...message }: MessageState): Promise<boolean> {
    if (authorize !== undefined) return await authorize(request, message)
    return identify === false || message.userId === userId
  }

  return {
    async identify (request) {
      if (identify === false) return null
      const userId = await identify(request)
      if (userId === null || userId === undefined || userId === '') throw new UnauthenticatedError()
      return String(userId)
    },
    async findMessage (request, userId, messageId) {
      const message = await journal.findMessage(messageId).catch((cause: unknown) => {
        throw new DatabaseUnavailableError({ cause })
      })
      if (message === null || !await mayRead(request, userId, message)) throw new MessageNotFoundError()
      return message
    }
  }
}
