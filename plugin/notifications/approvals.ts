import { v7 } from 'uuid'
import type { PublishUserEvent } from './notification-publisher.js'

/** What `requestApproval` asks the user. */
export interface ApprovalOptions {
  userId: string | number | bigint
  /** The message that waits for the user; the notifications' scope is `{ kind: 'message', id: messageId }`. */
  messageId: string
  /** What the user is asked to allow, for the page to show. */
  action: unknown
  /** Default: a new UUID. */
  approvalId?: string
}

/** A question that the user was asked. */
export interface Approval {
  approvalId: string
  /** The entry's id; `null` when the user was not told, see PublishUserEvent. */
  id: string | null
}

/**
 * Tells the user that a message waits for an approval, by `tool.approval.required` with `{ approvalId, messageId,
 * action }`. Never rejects.
 */
export type RequestApproval = (options: ApprovalOptions) => Promise<Approval>

/**
 * Tells the user's pages that the approval is settled, by `tool.approval.cleared` with `{ approvalId, messageId }`.
 * Resolves as `publishUserEvent` does. Never rejects.
 */
export type ClearApproval = (
  options: Pick<ApprovalOptions, 'userId' | 'messageId'> & { approvalId: string }
) => Promise<string | null>

/** Approvals are notifications; they keep nothing of their own. */
export function createApprovals (
  publishUserEvent: PublishUserEvent
): { requestApproval: RequestApproval, clearApproval: ClearApproval } {
  const about = (messageId: string) => ({ scope: { kind: 'message', id: messageId } })
  return {
    async requestApproval ({ userId, messageId, action, approvalId = v7() }) {
      const payload = { approvalId, messageId, action }
      return { approvalId, id: await publishUserEvent(userId, 'tool.approval.required', payload, about(messageId)) }
    },
    clearApproval: async ({ userId, messageId, approvalId }) =>
      await publishUserEvent(userId, 'tool.approval.cleared', { approvalId, messageId }, about(messageId))
  }
}
