import type { FastifyRequest } from 'fastify'
import { DatabaseUnavailableError, MessageNotFoundError, UnauthenticatedError } from '../plugin/errors.js'
import type { Journal } from '../plugin/postgres/journal.js'
import type { MessageState } from '../plugin/postgres/rows.js'
import type { Authorize, JournalOptions } from '../plugin/options.js'
import { causeOf } from '../plugin/postgres/failures.js'
import { userIdText } from '../plugin/user-id.js'

/** Decides who may read or stop a message. */
export interface Access {
  /** The caller's id; `null` when `identify` is false. @throws UnauthenticatedError, InvalidUserIdError */
  identify (request: FastifyRequest): Promise<string | null>
  /**
   * Finds the message for its caller.
   * @throws MessageNotFoundError, for a message that does not exist and for somebody else's alike, and
   * DatabaseUnavailableError.
   */
  findMessage (request: FastifyRequest, userId: string | null, messageId: string, action: Action): Promise<MessageState>
}

/** What a request does with a message. */
export type Action = Parameters<Authorize>[2]

/** Access by the options `identify` and `authorize`. */
export function createAccess (
  journal: Pick<Journal, 'findMessage'>, { identify, authorize }: Pick<JournalOptions, 'identify' | 'authorize'>
): Access {
  async function isAllowed (
    request: FastifyRequest, userId: string | null,
    { messageId, userId: owner, status, createdAt }: MessageState, action: Action
  ): Promise<boolean> {
    const message = { messageId, userId: owner, status, createdAt }
    if (authorize !== undefined) return await authorize(request, message, action)
    return identify === false || message.userId === userId
  }

  return {
    async identify (request) {
      if (identify === false) return null
      const userId = userIdText(await identify(request))
      if (userId === null) throw new UnauthenticatedError()
      return userId
    },
    async findMessage (request, userId, messageId, action) {
      const message = await journal.findMessage(messageId).catch((cause: unknown) => {
        throw new DatabaseUnavailableError({ cause: causeOf(cause) })
      })
      if (message === null || !await isAllowed(request, userId, message, action)) throw new MessageNotFoundError()
      return message
    }
  }
}
