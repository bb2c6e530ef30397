import type { Feeds } from '../read/feeds.js'
import { endAsItIs, endWith, type Finisher } from './finisher.js'
import type { Journal } from '../postgres/journal.js'
import type { Decision, Inspection, LockedMessage } from '../postgres/rows.js'
import type { RateLimitedLogger } from '../util/rate-limited-logger.js'
import type { MessageFrames } from './message-log.js'
import type { TerminalTypes } from '../wire/terminal-types.js'
import { matching } from './terminal-events.js'

/** What the viewers are compared with. */
export interface ReconcilerParts {
  journal: Journal
  feeds: Feeds<number>
  frames: MessageFrames
  finisher: Finisher
  terminalTypes: TerminalTypes
  publicError: (messageId: string) => string
  log: RateLimitedLogger
}

/**
 * Compares what the viewers of this process know with the journal, in one query for all of them. It finds what pub/sub
 * has lost, messages that were deleted, and messages with a status but no terminal event. Never rejects.
 */
export function createReconciler (
  { journal, feeds, frames, finisher, terminalTypes, publicError, log }: ReconcilerParts
): () => Promise<void> {
  const gone = frames.encode({ type: 'error', error: 'The message does not exist any more.', code: 'message_missing' })

  /** Another program has written the status. If the newest event is not a terminal one, the message gets one. */
  function settle ({ messageId, status, error, endedNo, newest }: LockedMessage): Decision {
    /* c8 ignore next -- somebody else must have opened or ended it since it was looked at */
    if (status === 'streaming' || endedNo !== null) return null
    if (newest !== null && terminalTypes(newest) !== null) return endAsItIs(newest, status, error)
    return endWith({ ...matching(status, publicError(messageId)), error })
  }

  async function act ({ messageId, status, endedNo, latest }: Inspection): Promise<void> {
    const feed = feeds.get(messageId)
    if (status === null) return feed?.end(gone)
    if (status !== 'streaming' && endedNo === null) await finisher.finish(messageId, true, settle)
    if (feed === undefined) return
    if (latest > feed.newest) feed.advance(latest)
    else feed.invalidate()
  }

  return async () => {
    try {
      await Promise.all((await journal.inspect(feeds.known())).map(act))
    } catch (error) {
      log.error('reconcile', { err: error }, 'journal: the open viewers could not be compared with the journal')
    }
  }
}
