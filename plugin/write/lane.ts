import type { Appender, Fence, Refused } from '../postgres/appender.js'
import { lockTimeout } from '../postgres/connection.js'
import type { Journal } from '../postgres/journal.js'
import { fenceOf, Line, type Outcome, type PendingEvent, type PendingGroup, type Verdict } from './line.js'
import { failureKind, isUnsure } from '../postgres/failures.js'
import { rowFinder, isSame } from './sequence.js'

/** What a lane writes to, and whom it answers. */
export interface LaneOptions {
  journal: Journal
  settle (event: PendingEvent, outcome: Outcome): void
  /** Requests a call of `expire` at this time of `performance.now()`, or earlier. */
  watch (at: number): void
  writeRetryMs: number
  maxDoubtMs: number
}

/** Takes the events of some of the messages. */
export interface Lane {
  add (event: PendingEvent): void
  /** Answers the events whose time is over. Returns the time at which the next one's is. */
  expire (): number
  /** Answers all events that are not under way. */
  close (): void
}

/** Why a group is not in the journal. `clash`: an index has its row already, although its number was free. */
type Problem = Refused | { reason: 'clash', error: Error }

const MAX_BATCH_EVENTS = 1_000
const MAX_BATCH_BYTES = 4 * 1024 * 1024
const FIRST_RETRY_MS = 25
const LAST_RETRY_MS = 1_000
/** The lock timeout of a batch whose events have less time left. */
const MIN_LOCK_TIMEOUT_MS = 20

/**
 * Writes the events of many messages, one batch at a time. A message whose row is locked is held back, and the others
 * go on.
 */
export function createLane ({ journal, settle, watch, writeRetryMs, maxDoubtMs }: LaneOptions): Lane {
  const lockTimeoutMs = lockTimeout(writeRetryMs)
  const lines = new Map<string, Line>()
  const held = new Set<Line>()
  let ready: Line[] = []
  let running = false
  let closed = false
  /** Halved while a batch fails because of one event, until that event is found. */
  let maxEvents = MAX_BATCH_EVENTS
  let retryMs = FIRST_RETRY_MS
  let endPause = (): void => {}
  let holdTimer: NodeJS.Timeout | undefined
  let holdTimerAt = Infinity

  /** After `close`, every deadline has passed. */
  function clock (): number {
    return closed ? Infinity : performance.now()
  }

  function start (): void {
    if (running || ready.length === 0) return
    running = true
    run()
  }

  async function run (): Promise<void> {
    await null // the calls of one turn share the first INSERT
    while (ready.length > 0) {
      try {
        await journal.write(step)
        retryMs = FIRST_RETRY_MS
      } catch (error) {
        await fail(error as Error) // neither pg nor this library rejects with anything else
      }
    }
    running = false
  }

  /** After a failure of the connection or the server: waits, with jitter, before the next try. */
  async function fail (error: Error): Promise<void> {
    for (const line of ready) {
      line.error ??= error
      if (failureKind(error) === 'permanent') refuse(line, line.events, { kind: 'failed', error })
    }
    watch(expire())
    if (ready.length === 0 || closed) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, retryMs * (0.5 + Math.random() / 2))
      endPause = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    retryMs = Math.min(retryMs * 2, LAST_RETRY_MS)
  }

  /**
   * Sends one batch. Its events are taken only once there is a connection, because until then their time may run out.
   */
  async function step (appender: Appender): Promise<void> {
    const now = clock()
    const settling = ready.findIndex((line) => !line.mustSettle(now))
    const count = Math.min(settling < 0 ? ready.length : settling, MAX_BATCH_EVENTS)
    if (count > 0) await settleDoubts(appender, ready.splice(0, count))
    else if (ready.length > 0) await write(appender, takeBatch(now))
  }

  function takeBatch (now: number): PendingGroup[] {
    const groups: PendingGroup[] = []
    let events = 0
    let bytes = 0
    for (const line of ready) {
      if (events >= maxEvents || bytes >= MAX_BATCH_BYTES || line.mustSettle(now)) break
      const group = line.take(maxEvents - events, MAX_BATCH_BYTES - bytes)
      groups.push(group)
      events += group.events.length
      for (const event of group.events) bytes += event.bytes
    }
    ready.splice(0, groups.length)
    return groups
  }

  async function write (appender: Appender, groups: PendingGroup[]): Promise<void> {
    const leftMs = Math.min(...groups.map(({ events }) => Number(events[0]?.deadline))) - performance.now()
    let refusals: ReadonlyMap<number, Refused>
    try {
      const waitMs = Math.ceil(Math.min(lockTimeoutMs, Math.max(MIN_LOCK_TIMEOUT_MS, leftMs)))
      refusals = await appender.append(groups, waitMs, groups.some(({ line }) => line.wasHeld))
    } catch (error) {
      return await failedToWrite(
        appender, groups, error as Error) // neither pg nor this library rejects with anything else
    }
    maxEvents = Math.min(MAX_BATCH_EVENTS, maxEvents * 2)
    const refused = new Map<PendingGroup, Refused>()
    for (const [place, group] of groups.entries()) {
      const refusal = refusals.get(place)
      if (refusal === undefined) committed(group)
      else if (refusal.reason === 'locked') hold(group.line, new Error('somebody holds a lock on the message'))
      else refused.set(group, refusal)
    }
    if (refused.size > 0) await judge(appender, refused)
  }

  function committed ({ line, events }: PendingGroup): void {
    const last = events.at(-1)
    if (last?.writer != null) last.writer.next = last.sequenceNo + 1
    line.shift(events.length)
    for (const event of events) settle(event, { kind: 'committed', sequenceNo: event.sequenceNo, repeated: false })
    if (line.state === 'ready') {
      ready.push(line)
    } // one that is idle is kept for its next event, until `expire` finds it idle
  }

  async function failedToWrite (appender: Appender, groups: PendingGroup[], error: Error): Promise<void> {
    const events = groups.flatMap((group) => group.events)
    const [group] = groups
    const kind = failureKind(error)
    if (isUnsure(error)) for (const event of events) event.doubtfulSince ??= performance.now()
    for (const { line } of groups) line.error = error
    if (kind === 'transient' || kind === 'permanent') {
      takeBack(groups)
      throw error
    }
    if (events.length > 1 || group === undefined) {
      maxEvents = Math.ceil(events.length / 2)
      takeBack(groups)
    } else if (kind === 'locked') {
      hold(group.line, error)
    } else if (kind === 'taken') {
      await judge(appender, new Map([[group, { reason: 'clash', error }]]))
    } else {
      refuse(group.line, group.events, { kind: 'invalid', error })
      takeBack(groups)
    }
  }

  function takeBack (groups: readonly PendingGroup[]): void {
    requeue(groups.map(({ line }) => line))
  }

  /**
   * Looks for events that were refused. An event whose row is in the table is committed. The others get higher numbers,
   * or are refused for good.
   */
  async function judge (appender: Appender, problems: ReadonlyMap<PendingGroup, Problem>): Promise<void> {
    const groups = [...problems.keys()]
    const sought = groups.filter((group) => problems.get(group)?.reason === 'clash' ||
      group.events.some(mayStand)).flatMap((group) => group.events)
    let found: Awaited<ReturnType<Appender['findTaken']>>
    try {
      found = sought.length === 0 ? { taken: [], newest: new Map() } : await appender.findTaken(sought)
    } catch (error) {
      takeBack(groups)
      throw error
    }
    const rowOf = rowFinder(found.taken)
    for (const [{ line, messageId, events }, problem] of problems) {
      const standing = events.filter((event) => mayStand(event) && isSame(rowOf(event), event))
      remove(line, standing)
      for (const event of standing) {
        settle(
          event, { kind: 'committed', sequenceNo: event.sequenceNo, repeated: event.doubtfulSince === null })
      }
      const rest = events.filter((event) => !standing.includes(event))
      if (problem.reason === 'taken') {
        renumber(rest, problem.lastNo)
      } else if (problem.reason !== 'clash') {
        if (problem.reason !== 'locked') refuse(line, rest, { kind: problem.reason })
      } else if (rest.some((event) => rowOf(event) === undefined)) {
        refuse(line, rest, { kind: 'invalid', error: problem.error }) // it is an index of the app's own
      } else {
        renumber(rest, Number(found.newest.get(messageId)))
      }
      requeue([line])
    }
  }

  /**
   * Settles the doubtful events of these lines: raises `last_no` over their numbers, so that no statement can still
   * commit them, and looks for their rows.
   */
  async function settleDoubts (appender: Appender, settling: Line[]): Promise<void> {
    const fences = settling.map((line) => line.fence() as Fence) // mustSettle holds for all of them
    for (const line of settling) line.beBusy(line.doubtful().length)
    let locked: ReadonlySet<number>
    let rowOf: ReturnType<typeof rowFinder>
    try {
      locked = await appender.fence(fences, lockTimeoutMs)
      const sought = settling.flatMap((line, place) => locked.has(place) ? [] : line.doubtful())
      rowOf = rowFinder(sought.length === 0 ? [] : (await appender.findTaken(sought)).taken)
    } catch (error) {
      requeue(settling)
      throw error
    }
    for (const [place, line] of settling.entries()) {
      const sequenceNo = Number(fences[place]?.sequenceNo)
      if (locked.has(place)) hold(line, new Error('somebody holds a lock on the message'))
      else fenced(line, sequenceNo, rowOf)
    }
  }

  function fenced (line: Line, fencedNo: number, rowOf: ReturnType<typeof rowFinder>): void {
    const now = clock()
    const doubtful = line.doubtful()
    const standing = doubtful.filter((event) => isSame(rowOf(event), event))
    const absent = doubtful.filter((event) => !standing.includes(event))
    const { verdict } = line
    line.due = line.verdict = null
    remove(line, standing)
    for (const event of standing) settle(event, { kind: 'committed', sequenceNo: event.sequenceNo, repeated: false })
    for (const event of absent) {
      event.doubtfulSince = null
      if (event.writer !== null) event.writer.next = Math.max(event.writer.next, fencedNo + 1)
    }
    if (verdict !== null) refuse(line, absent, verdict)
    else refuse(line, absent.filter((event) => event.deadline <= now), failure(line))
    requeue([line])
  }

  /** Refuses events: at once, or, if they are doubtful, after the fence. */
  function refuse (line: Line, events: readonly PendingEvent[], verdict: Verdict): void {
    // No statement can write for a message that does not exist, or with a lease that is over
    const isFinal = verdict.kind === 'missing' || verdict.kind === 'fenced'
    const refused = events.filter((event) => isFinal || event.doubtfulSince === null)
    if (refused.length < events.length) line.verdict = verdict
    remove(line, refused)
    for (const event of refused) settle(event, { ...verdict, sequenceNo: event.sequenceNo })
  }

  function hold (line: Line, error: Error): void {
    line.error = error
    line.sent = 0
    answerLate(line)
    if (line.isEmpty()) {
      lines.delete(line.messageId)
      return
    }
    line.hold(performance.now())
    held.add(line)
    wakeHeld(line.heldUntil)
  }

  /** Makes held lines ready at this time, or earlier. */
  function wakeHeld (at: number): void {
    if (closed || at >= holdTimerAt) return
    clearTimeout(holdTimer)
    holdTimerAt = at
    holdTimer = setTimeout(() => {
      const now = performance.now()
      let next = Infinity
      for (const line of held) {
        if (line.heldUntil > now) {
          next = Math.min(next, line.heldUntil)
          continue
        }
        held.delete(line)
        line.state = 'ready'
        ready.push(line)
      }
      holdTimerAt = Infinity
      wakeHeld(next)
      start()
    }, Math.max(1, Math.ceil(at - performance.now())))
  }

  /** Puts lines whose events are not under way any more at the head of the queue. */
  function requeue (given: readonly Line[]): void {
    for (const line of given) {
      line.state = 'ready'
      line.sent = 0
      watch(answerLate(line))
      if (line.isEmpty()) lines.delete(line.messageId)
    }
    ready = [...given.filter((line) => !line.isEmpty()), ...ready]
  }

  /**
   * Answers the events of the line whose time is over and that are not under way. Returns the time at which the next
   * one's is.
   */
  function answerLate (line: Line): number {
    const now = clock()
    const late: PendingEvent[] = []
    let next = Infinity
    for (const [place, event] of line.events.entries()) {
      if (line.state === 'busy' && place < line.sent) continue
      if (endOf(event) <= now) late.push(event)
      else next = Math.min(next, endOf(event))
    }
    remove(line, late)
    for (const event of late) {
      if (event.doubtfulSince === null) {
        settle(event, { ...failure(line), sequenceNo: event.sequenceNo })
        continue
      }
      if (!closed) line.due = fenceOf(event, line.due)
      settle(event, { kind: 'unknown', sequenceNo: event.sequenceNo, error: failure(line).error })
    }
    if (closed) line.due = null
    return next
  }

  function endOf ({ deadline, doubtfulSince }: PendingEvent): number {
    return doubtfulSince === null ? deadline : doubtfulSince + maxDoubtMs
  }

  function expire (): number {
    let next = Infinity
    for (const line of lines.values()) {
      if (line.state !== 'idle') next = Math.min(next, answerLate(line))
      if (!line.isEmpty() || line.state === 'busy') continue
      lines.delete(line.messageId)
      held.delete(line)
    }
    ready = ready.filter((line) => !line.isEmpty())
    if (ready.length === 0) endPause() // the next event is tried at once
    return next
  }

  return {
    add (event) {
      const { messageId } = event
      let line = lines.get(messageId)
      if (line === undefined) {
        line = new Line(messageId)
        lines.set(messageId, line)
      }
      line.add(event)
      if (line.state === 'idle') {
        line.state = 'ready'
        ready.push(line)
      }
      start()
    },
    expire,
    close () {
      closed = true
      expire()
      clearTimeout(holdTimer)
      endPause()
    }
  }
}

/** Whether an equal row under the event's number is this event: it was sent before, or the app chose the number. */
function mayStand ({ doubtfulSince, writer }: PendingEvent): boolean {
  return doubtfulSince !== null || writer === null
}

function remove (line: Line, events: readonly PendingEvent[]): void {
  if (events.length === 0) return
  const gone = new Set(events)
  line.events = line.events.filter((event) => !gone.has(event))
}

/** Lets the events go above `lastNo`. None of them is in the journal, or can still get there. */
function renumber (events: readonly PendingEvent[], lastNo: number): void {
  let newest = lastNo
  for (const event of events) {
    event.doubtfulSince = null
    if (event.writer !== null) event.writer.next = lastNo + 1
    else if (event.sequenceNo <= newest) event.sequenceNo = newest + 1
    newest = Math.max(newest, event.sequenceNo)
  }
}

function failure (line: Line): { kind: 'failed', error: Error } {
  return { kind: 'failed', error: line.error ?? new Error('the database did not take it in time') }
}
