import type { FastifyBaseLogger } from 'fastify'
import { createCommitter } from '../write/committer.js'
import { createFeeds, type Feeds } from '../read/feeds.js'
import { createFinisher } from './finisher.js'
import type { Journal } from '../postgres/journal.js'
import { createJudge, type Judge } from './judge.js'
import { messageTopic } from '../wire/names.js'
import type { RateLimitedLogger } from '../util/rate-limited-logger.js'
import { createMessageFrames, START } from './message-log.js'
import type { OwnedMessage } from './message.js'
import type { JournalOptions, PublicError } from '../options.js'
import { createProducers, type Producers } from './producers.js'
import { defaultPublicError } from '../public-error.js'
import type { Publisher } from '../redis/publisher.js'
import { createReadQueue } from '../read/read-queue.js'
import { createReconciler } from './reconciler.js'
import { createRecorder, type RecordEvent } from '../write/recorder.js'
import { createStopper, type Stopper } from './stop.js'
import type { Subscriber } from '../redis/topic.js'
import { createTerminalTypes, type TerminalTypes } from '../wire/terminal-types.js'

/** The messages: written to, and read from, the journal. */
export interface Messages {
  recordEvent: RecordEvent
  producers: Producers
  stopper: Stopper
  feeds: Feeds<number>
  terminalTypes: TerminalTypes
  /** Reads the message, in turn with the readers' reads. A failure is not retried. */
  findMessage: Journal['findMessage']
  /**
   * Finds what the readers of this process have missed, and gives their messages a terminal event that have a status
   * without one. Never rejects.
   */
  reconcile (): Promise<void>
  /** Ends, or takes over, messages that have lost their producer. */
  judge: Judge
  /** Resolves when everything that was recorded is settled. */
  drained (): Promise<void>
  /** Hands over what this process still produces, and tells the others. Never rejects. */
  handOver (): Promise<void>
  close (): void
}

/** What the messages are built on. */
export interface MessagesParts {
  journal: Journal
  publisher: Publisher
  subscriber: Subscriber
  logger: FastifyBaseLogger
  log: RateLimitedLogger
  publicError: PublicError
  onOpened: (message: OwnedMessage) => void
}

/** The topic on which a process that shuts down tells the others to take its messages over. A hint like any other. */
export const HANDOVER_TOPIC = 'journal:handover'

/** Puts the parts of the messages together: recorder, producers, readers, judge. */
export function createMessages (
  { journal, publisher, subscriber, logger, log, publicError, onOpened }: MessagesParts, options: JournalOptions
): Messages {
  const terminalTypes = createTerminalTypes(options.terminalTypes)
  const committer = createCommitter(journal, options)
  const recorder = createRecorder({ committer, publisher, terminalTypes, logger, log }, options)
  const finisher = createFinisher(journal, publisher)
  const producers = createProducers(journal, options, { recorder, finisher, terminalTypes, log, publicError, onOpened })

  const frames = createMessageFrames(journal, terminalTypes, options)
  const reads = createReadQueue(options.maxConcurrentReads, log)
  const feeds = createFeeds<number>({
    start: START,
    topic: messageTopic,
    log: frames.log,
    reads,
    subscriber
  })

  return {
    recordEvent: recorder.recordEvent,
    producers,
    stopper: createStopper(finisher, producers, publisher),
    feeds,
    terminalTypes,
    findMessage: async (messageId) => await reads.once(async () => await journal.findMessage(messageId)),
    reconcile: createReconciler(
      { journal, feeds, frames, finisher, terminalTypes, log, publicError: defaultPublicError }),
    judge: createJudge({ journal, finisher, producers, terminalTypes, log }, options),
    drained: committer.drained,
    async handOver () {
      if (await producers.release()) publisher.publish([{ topic: HANDOVER_TOPIC, envelope: '{}' }])
    },
    close () {
      committer.close()
      reads.close()
    }
  }
}
