import type { FastifyBaseLogger } from 'fastify'
import { createCommitter } from './committer.js'
import { createFeeds, type Feeds } from './feeds.js'
import { createFinisher } from './finisher.js'
import type { Journal, JournalRow } from './journal.js'
import { messageTopic } from './keys.js'
import type { LimitedLog } from './limited-log.js'
import { createMessageFrames, START } from './message-log.js'
import type { JournalOptions, PublicError } from './options.js'
import { createProducers, type Producers } from './producers.js'
import { defaultPublicError } from './public-text.js'
import type { Publisher } from './publisher.js'
import { createReadQueue } from './read-queue.js'
import { createReconciler } from './reconciler.js'
import { createRecorder, type RecordEvent } from './recorder.js'
import { createStopper, type Stopper } from './stop.js'
import type { Subscriber } from './subscriber.js'

/** The first pipe: messages, in the journal. */
export interface MessagePipe {
  recordEvent: RecordEvent
  producers: Producers
  stopper: Stopper
  feeds: Feeds<number>
  isTerminal (row: Pick<JournalRow, 'eventType' | 'payload'>): boolean
  /** One of the bounded reads, which is not tried again. */
  findMessage: Journal['findMessage']
  /** Finds what the readers of this process were not told of, and ends messages whose producers cannot. Never rejects. */
  reconcile (): Promise<void>
  /** Resolves when everything that was recorded is settled. */
  drained (): Promise<void>
  close (): void
}

export interface MessagePipeParts {
  journal: Journal
  publisher: Publisher
  subscriber: Subscriber
  logger: FastifyBaseLogger
  log: LimitedLog
  publicError: PublicError
}

export function createMessagePipe ({ journal, publisher, subscriber, logger, log, publicError }: MessagePipeParts, options: JournalOptions): MessagePipe {
  const committer = createCommitter(journal, options)
  const recorder = createRecorder(committer, publisher, logger, log, options.maxPayloadBytes)
  const producers = createProducers(journal, options, { recorder, log, publicError })
  const finisher = createFinisher(journal, publisher)

  const frames = createMessageFrames(journal, options)
  const reads = createReadQueue(options.maxConcurrentReads, log)
  const feeds = createFeeds<number>({
    start: START,
    topic: messageTopic,
    log: frames.log,
    reads,
    subscriber,
    hear (feed, envelope) {
      const entry = frames.decode(envelope)
      if (entry !== null) feed.announce(entry)
    }
  })

  return {
    recordEvent: recorder.recordEvent,
    producers,
    stopper: createStopper(finisher, producers, publisher),
    feeds,
    isTerminal: frames.isTerminal,
    findMessage: async (messageId) => await reads.once(async () => await journal.findMessage(messageId)),
    reconcile: createReconciler({ journal, feeds, frames, finisher, log, producerIdleMs: options.producerIdleMs, publicError: defaultPublicError }),
    drained: committer.drained,
    close () {
      committer.close()
      reads.close()
    }
  }
}
