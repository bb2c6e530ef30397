import { FencedError } from '../errors.js'
import { endAsItIs, endWith, type Finisher } from './finisher.js'
import type { Journal } from '../postgres/journal.js'
import type { Candidate, Decision, LockedMessage } from '../postgres/rows.js'
import type { RateLimitedLogger } from '../util/rate-limited-logger.js'
import type { OwnedMessage } from './message.js'
import type { JournalOptions, TakeOver } from '../options.js'
import type { Produce, Producers } from './producers.js'
import type { TerminalTypes } from '../wire/terminal-types.js'
import { MAX_CANDIDATES } from '../postgres/statements.js'
import { STALE } from './terminal-events.js'

/** What the judge asks, and whom it tells. */
export interface JudgeParts {
  journal: Journal
  finisher: Finisher
  producers: Producers
  terminalTypes: TerminalTypes
  log: RateLimitedLogger
}

/**
 * Ends, or takes over, messages that have lost their producer, whether or not anybody reads them. Ends silent ones,
 * too. Never rejects.
 */
export type Judge = () => Promise<void>

/**
 * A share of `producerIdleMs`. A message that has given no sign of life for so long is checked for a lock on its row.
 */
const SUSPECT_SHARE = 2 / 3
/** The shortest grace for producers, in ms, unless a third of `producerIdleMs` is shorter. */
const MIN_GRACE_MS = 10_000

/**
 * A sign of life is a heartbeat or a new row, by the database's clock. A living producer must never be judged dead. So
 * judging pauses, until producers have had time for one more heartbeat, when
 * - the judge has just started, or has not looked for more than two of its periods: the process or the database was
 *   away;
 * - the database's clock has stepped, in either direction;
 * - for one message: its row is locked, and its producer cannot write a heartbeat.
 */
export function createJudge (
  { journal, finisher, producers, terminalTypes, log }: JudgeParts, options: JournalOptions
): Judge {
  const { producerIdleMs, producerSilenceMs, heartbeatMs, reconcileMs, takeOver } = options
  const graceMs = Math.max(heartbeatMs, Math.min(MIN_GRACE_MS, producerIdleMs / 3))
  const suspectMs = Math.max(heartbeatMs, Math.min(producerIdleMs * SUSPECT_SHARE, producerIdleMs - 2 * reconcileMs))
  const unheardMs = producerSilenceMs === 0 ? Infinity : producerSilenceMs
  let lookedAt: number | null = null
  let graceEnds = 0
  /** Messages whose row was found locked, and until when they are not judged. */
  const reprieved = new Map<string, number>()
  /** Where the next look at messages without any heartbeat begins. */
  let after: string | null = null

  function isDead ({ heartbeatAgeMs, touchedAgeMs, newest }: LockedMessage): boolean {
    const newestAgeMs = newest?.ageMs ?? Infinity
    // A row from the future says nothing, because its age is unknown. Where there are heartbeats, they decide
    if (heartbeatAgeMs !== null) {
      return Math.min(heartbeatAgeMs, newestAgeMs < 0 ? Infinity : newestAgeMs) >= producerIdleMs
    }
    return Math.min(touchedAgeMs, newestAgeMs) >= unheardMs
  }

  function decide (message: LockedMessage): Decision {
    const { status, epoch, heartbeatAgeMs, handedOver, newest } = message
    if (status !== 'streaming') return null
    if (handedOver && takeOver !== undefined) return { kind: 'claim' }
    if (heartbeatAgeMs !== null && heartbeatAgeMs < 0) return { kind: 'renew' }
    if (epoch === 0 && newest !== null && newest.ageMs >= producerIdleMs) {
      const ending = terminalTypes(newest)
      if (ending !== null) return endAsItIs(newest, ending, null)
    }
    if (!isDead(message)) return null
    return takeOver === undefined ? endWith(STALE) : { kind: 'claim' }
  }

  /** Judges one message. A failure is logged, and does not stop the others from being judged. */
  async function judge (candidate: Candidate, nowMs: number): Promise<void> {
    await decideOn(candidate, nowMs).catch((error: unknown) => {
      log.error('judge', { messageId: candidate.messageId, err: error }, 'journal: a message could not be judged')
    })
  }

  async function decideOn ({ messageId, handedOver }: Candidate, nowMs: number): Promise<void> {
    const decided = await finisher.finish(messageId, true, decide)
    if (decided.kind === 'locked') reprieved.set(messageId, nowMs + graceMs)
    if (decided.kind === 'ended' && decided.lastNo !== decided.message.newest?.sequenceNo) {
      log.warn('stale', { messageId }, 'journal: a message was ended: its producer gave no sign of life')
    }
    if (decided.kind !== 'claimed' || takeOver === undefined) return
    const { message: { userId, createdAt }, epoch, lastNo } = decided
    const latest = decided.message.newest?.sequenceNo ?? -1
    const message = producers.adopt({ messageId, userId }, { epoch, createdAt, latest, lastNo })
    message.use()
    // Not awaited: however long the app thinks, no other message waits
    goOn(takeOver, message, handedOver ? 'closed' : 'stale')
  }

  async function goOn (takeOver: TakeOver, message: OwnedMessage, lost: 'stale' | 'closed'): Promise<void> {
    const { messageId, epoch } = message
    const produce = await askForProducer(takeOver, message, lost)
    if (produce !== null) return await producers.run(message, produce)
    message.lose(new FencedError(messageId)) // or its lease would be renewed, if it cannot be ended now
    const isStillClaimed = (row: LockedMessage): boolean => row.status === 'streaming' && row.epoch === epoch
    const end = finisher.finish(messageId, false, (row) => isStillClaimed(row) ? endWith(STALE) : null)
    await end.catch((error: unknown) => {
      log.error('judge', { messageId, err: error },
        'journal: a message that nobody goes on with could not be ended yet')
    })
  }

  async function askForProducer (
    takeOver: TakeOver, message: Parameters<TakeOver>[0], lost: 'stale' | 'closed'
  ): Promise<Produce | null> {
    try {
      const produce: unknown = await takeOver(message, { lost })
      return typeof produce === 'function' ? produce as Produce : null // by its type, if the app has types
    } catch (error) {
      const { messageId } = message
      log.error('takeOver', { messageId, err: error }, 'journal: the option takeOver gave no producer')
      return null
    }
  }

  /** Postpones the judgement of suspects whose row is locked. */
  async function reprieveLocked (suspects: readonly Candidate[], nowMs: number): Promise<void> {
    if (suspects.length === 0) return
    const free = await journal.findFree(suspects.map(({ messageId }) => messageId))
    for (const { messageId } of suspects) if (!free.has(messageId)) reprieved.set(messageId, nowMs + graceMs)
  }

  function noteTime (nowMs: number): void {
    if (lookedAt === null || nowMs < lookedAt || nowMs - lookedAt > 2 * reconcileMs) graceEnds = nowMs + graceMs
    lookedAt = nowMs
    for (const [messageId, until] of reprieved) if (until <= nowMs) reprieved.delete(messageId)
  }

  function isDue (candidate: Candidate, nowMs: number): boolean {
    const { messageId, heartbeatAgeMs, handedOver, ageMs, newest } = candidate
    if (handedOver && takeOver !== undefined) return true
    if (nowMs < graceEnds || reprieved.has(messageId)) return false
    if (heartbeatAgeMs !== null) return heartbeatAgeMs < 0 || heartbeatAgeMs >= producerIdleMs
    const newestAgeMs = newest?.ageMs ?? Infinity
    return Math.min(ageMs, newestAgeMs) >= unheardMs ||
      (newest !== null && newestAgeMs >= producerIdleMs && terminalTypes(newest) !== null)
  }

  async function look (): Promise<void> {
    const { nowMs, candidates, next } = await journal.lookForDead(suspectMs, producerIdleMs, after)
    after = next
    noteTime(nowMs)
    const due = candidates.filter((candidate) => isDue(candidate, nowMs))
    const others = candidates.filter((candidate) => !due.includes(candidate))
    await reprieveLocked(others.filter(({ heartbeatAgeMs }) => heartbeatAgeMs !== null), nowMs)
    await Promise.all(due.map(async (candidate) => { await judge(candidate, nowMs) }))
    const silent = candidates.filter(({ heartbeatAgeMs }) => heartbeatAgeMs !== null && heartbeatAgeMs >= suspectMs)
    // When the list is full there may be more suspects, and their rows may be locked, too
    if (silent.length >= MAX_CANDIDATES && reprieved.size > 0) graceEnds = nowMs + graceMs
  }

  return async () => {
    try {
      await look()
      await producers.endSilent()
    } catch (error) {
      log.error('judge', { err: error }, 'journal: the producers could not be looked after')
    }
  }
}
