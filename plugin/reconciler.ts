import type { Feeds } from './feeds.js'
import type { Finisher } from './finisher.js'
import type { Inspection, Journal } from './journal.js'
import type { LimitedLog } from './limited-log.js'
import type { MessageFrames } from './message-log.js'
import { STALE, matching } from './terminals.js'

export interface ReconcilerParts {
  journal: Journal
  feeds: Feeds<number>
  frames: MessageFrames
  finisher: Finisher
  publicError: (messageId: string) => string
  log: LimitedLog
  /** A streaming message whose producer gave no heartbeat for this long has none, in ms. */
  producerIdleMs: number
}

/**
 * Compares what the viewers of this process know with the journal, in one query for all of them. What pub/sub has
 * lost is found here, and so are messages that were deleted, that are finished without a terminal event, or whose
 * producer is dead, be they read or not. Never rejects.
 */
export function createReconciler ({ journal, feeds, frames, finisher, publicError, log, producerIdleMs }: ReconcilerParts): () => Promise<void> {
  const gone = frames.encode({ type: 'error', error: 'The message does not exist any more.', code: 'message_missing' })

  async function act ({ messageId, status, latest, stale }: Inspection): Promise<void> {
    const feed = feeds.get(messageId)
    if (feed !== undefined) {
      if (status === null) return feed.end(gone)
      if (latest > feed.newest) return feed.advance(latest)
      if (status !== 'streaming') return await settle(messageId, status)
    }
    if (stale) await finisher.finish(messageId, STALE, { from: 'streaming', idleMs: producerIdleMs, latest: null })
  }

  /** The message is finished, and its viewers have been told of all its rows. */
  async function settle (messageId: string, status: 'complete' | 'failed' | 'stopped'): Promise<void> {
    const last = (await journal.findMessage(messageId))?.last ?? null
    if (last === null || !frames.isTerminal(last)) {
      await finisher.finish(messageId, matching(status, publicError(messageId)), { from: status, idleMs: null, latest: last?.sequenceNo ?? -1 })
      return
    }
    const feed = feeds.get(messageId)
    feed?.advance(last.sequenceNo) // another process may have just written it: who is behind it is not at the end
    feed?.end(null)
  }

  return async () => {
    try {
      await Promise.all((await journal.inspect(feeds.known(), producerIdleMs)).map(act))
    } catch (error) {
      log.error('reconcile', { err: error }, 'journal: the open viewers could not be compared with the journal')
    }
  }
}
