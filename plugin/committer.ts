import { setTimeout as delay } from 'node:timers/promises'
import type { Appender, NewEvent, Refusal } from './appender.js'
import type { Journal } from './journal.js'
import { failureKind, isUnsure } from './postgres-errors.js'
import { findHoles, findPlaces, isInOrder } from './places.js'

/**
 * What became of an event.
 * - `committed`: its row is in the journal under `event.sequenceNo`, which may not be the number it came with.
 *   `repeated`: the very same event had been there before this call.
 * - `missing`: there is no such message. `stopped`: somebody has stopped it. `fenced`: another writer has taken it over.
 * - `failed`: it could not be written, for `error`. `unsure`: a try was made whose answer never came, and the row may
 *   be there all the same.
 */
export type Outcome =
  | { kind: 'committed', repeated: boolean }
  | { kind: Refusal }
  | { kind: 'failed', error: Error, unsure: boolean }

/** An event on its way. From `add` on it is the committer's: its number may change. */
export interface PendingEvent extends NewEvent {
  /** Of its payload. */
  bytes: number
  /** Called exactly once; `sequenceNo` is then the number that the event got, or would have got. */
  settle (outcome: Outcome): void
  /** `performance.now()` past which no further try begins; set by the committer. */
  deadline: number
  /** A try was made whose answer never came: the row may be there. `false` at first. */
  unsure: boolean
}

export interface CommitterOptions {
  /** How long an event may wait for a database that is away, in ms. */
  writeRetryMs: number
  /** How many bytes of payloads may wait in this process. */
  maxPendingBytes: number
}

export interface Committer {
  /**
   * Takes an event into its message's lane. Events of one message are committed in the order of these calls.
   * `settle` gets `failed` at once when `maxPendingBytes` would be exceeded.
   */
  add (event: PendingEvent): void
  /** Resolves when nothing waits any more. */
  drained (): Promise<void>
  /** Begins no further try: what fails from now on has failed. */
  close (): void
}

/** Two lanes: while one waits for its commit to reach the disk, the other's rows are being sent. */
const LANES = 2
const MAX_BATCH_EVENTS = 1_000
const MAX_BATCH_BYTES = 4 * 1024 * 1024
/** What an event costs beside its payload, so that a flood of empty ones is bounded too. */
const EVENT_OVERHEAD_BYTES = 256
const FIRST_RETRY_MS = 25
const LAST_RETRY_MS = 1_000

/**
 * Group commit. Events that arrive while a lane's INSERT is under way wait for it and share the next one; an event
 * that finds its lane idle is sent in the same turn of the event loop. No timer is involved unless a try has failed.
 */
export function createCommitter (journal: Journal, options: CommitterOptions): Committer {
  let closed = false
  let pendingBytes = 0
  let pendingEvents = 0
  let onDrained: Array<() => void> = []

  function settle (event: PendingEvent, outcome: Outcome): void {
    pendingBytes -= event.bytes + EVENT_OVERHEAD_BYTES
    pendingEvents--
    event.settle(outcome)
    if (pendingEvents > 0) return
    for (const resolve of onDrained) resolve()
    onDrained = []
  }

  const context: Context = { journal, settle, isClosed: () => closed }
  const lanes = Array.from({ length: LANES }, () => createLane(async (batch) => { await commit(context, batch) }))

  return {
    add (event) {
      const bytes = event.bytes + EVENT_OVERHEAD_BYTES
      if (pendingEvents > 0 && pendingBytes + bytes > options.maxPendingBytes) {
        event.settle({ kind: 'failed', error: new Error(`more than maxPendingBytes (${options.maxPendingBytes}) wait for the database`), unsure: false })
        return
      }
      pendingBytes += bytes
      pendingEvents++
      event.deadline = performance.now() + options.writeRetryMs
      lanes[laneOf(event.messageId)]?.add(event)
    },
    drained () {
      return pendingEvents === 0 ? Promise.resolve() : new Promise((resolve) => { onDrained.push(resolve) })
    },
    close () { closed = true }
  }
}

/** A UUID's last digits are random in every version that is in use. */
function laneOf (messageId: string): number {
  return Number.parseInt(messageId.slice(-2), 16) % LANES
}

interface Lane {
  add (event: PendingEvent): void
}

function createLane (commit: (batch: PendingEvent[]) => Promise<void>): Lane {
  let queue: PendingEvent[] = []
  let running = false

  async function run (): Promise<void> {
    await null // the calls of one turn share the first INSERT
    while (queue.length > 0) await commit(takeBatch())
    running = false
  }

  function takeBatch (): PendingEvent[] {
    let bytes = 0
    let count = 0
    for (const event of queue) {
      if (count === MAX_BATCH_EVENTS || bytes >= MAX_BATCH_BYTES) break
      bytes += event.bytes
      count++
    }
    const batch = queue
    queue = batch.splice(count)
    return batch
  }

  return {
    add (event) {
      queue.push(event)
      if (running) return
      running = true
      run()
    }
  }
}

interface Context {
  journal: Journal
  settle (event: PendingEvent, outcome: Outcome): void
  isClosed (): boolean
}

/** Resolves when every event of the batch is settled; never rejects. */
async function commit (context: Context, batch: PendingEvent[]): Promise<void> {
  let open = batch
  let retryMs = FIRST_RETRY_MS
  while (open.length > 0) {
    try {
      open = await attempt(context, open)
    } catch (cause) {
      const error = cause as Error // neither pg nor this library rejects with anything else
      const kind = failureKind(error)
      if (kind === 'transient' || (kind === 'locked' && open.length === 1)) {
        if (isUnsure(error)) for (const event of open) event.unsure = true
        open = expire(context, open, error)
        if (open.length > 0) await delay(retryMs * (0.5 + Math.random() / 2))
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS)
      } else if (kind !== 'permanent' && open.length > 1) {
        const middle = open.length >> 1
        await commit(context, open.slice(0, middle))
        open = open.slice(middle)
      } else {
        for (const event of open) context.settle(event, { kind: 'failed', error, unsure: event.unsure })
        return
      }
    }
  }
}

/** What became of a batch. */
interface Written {
  committed: readonly PendingEvent[]
  refused: ReadonlyMap<PendingEvent, Refusal>
  /** Those that had been there before. */
  repeated: readonly PendingEvent[]
  /** Those that did not get into the transaction. */
  open: PendingEvent[]
}

const NOTHING: Omit<Written, 'open'> = { committed: [], refused: new Map(), repeated: [] }

/** One transaction. Answers with the events that must be tried again: all that did not get into it. */
async function attempt (context: Context, events: PendingEvent[]): Promise<PendingEvent[]> {
  const { journal } = context
  const numbered = events.some((event) => event.epoch === null)
  try {
    return conclude(context, await (numbered ? insertNumbered(journal, events) : insert(journal, events)))
  } catch (error) {
    if (failureKind(error) !== 'taken') throw error
    const numbers = events.map((event) => event.sequenceNo)
    const { repeated, free, echoes } = findPlaces(events, await journal.findTaken(events))
    // No number is taken: it is an index or a trigger of the app's own that refuses a row.
    if (repeated.length === 0 && events.every((event, index) => event.sequenceNo === numbers[index])) throw error
    return conclude(context, { ...NOTHING, repeated, open: [...free, ...echoes] })
  }
}

function conclude ({ settle }: Context, { committed, refused, repeated, open }: Written): PendingEvent[] {
  for (const event of repeated) settle(event, { kind: 'committed', repeated: !event.unsure })
  for (const [event, kind] of refused) settle(event, { kind })
  for (const event of committed) settle(event, { kind: 'committed', repeated: false })
  return open
}

/**
 * Events whose numbers the app chose may come late: behind one that is committed already, where a reader that has
 * passed the place would never see them. They are placed while nobody else writes to their messages.
 */
async function insertNumbered (journal: Journal, events: PendingEvent[]): Promise<Written> {
  return await journal.exclusively([...new Set(events.map((event) => event.messageId))], async (appender, latest) => {
    if (isInOrder(events, latest)) return await insertAbove(appender, events, latest)
    const { repeated, free, echoes } = findPlaces(events, { ...await appender.findTaken(events), latest })
    const written = await insertAbove(appender, free, latest)
    return { ...written, repeated, open: [...written.open, ...echoes] }
  })
}

/** A number may leave a hole behind it: the message's lease holder, if there is one, may have that hole's numbers on their way. */
async function insertAbove (appender: Appender, events: PendingEvent[], latest: ReadonlyMap<string, number>): Promise<Written> {
  const written = await insert(appender, events)
  const floors = findHoles(written.committed, latest)
  if (floors.size > 0) await appender.raiseFloor(floors)
  return written
}

async function insert (appender: Appender, events: PendingEvent[]): Promise<Written> {
  const refused = await appender.append(events)
  if (refused.size === 0) return { ...NOTHING, committed: events, open: [] }
  const open = events.filter((event) => !refused.has(event))
  // A commit whose answer was lost may have been followed by another writer's fence.
  const doubtful = [...refused.keys()].filter((event) => event.unsure)
  const committed = doubtful.length === 0 ? [] : findPlaces(doubtful, await appender.findTaken(doubtful)).repeated
  for (const event of committed) refused.delete(event)
  return { ...NOTHING, committed, refused, open }
}

/** Answers with those that may be tried once more. */
function expire ({ settle, isClosed }: Context, events: PendingEvent[], error: Error): PendingEvent[] {
  const now = isClosed() ? Infinity : performance.now()
  for (const event of events) if (event.deadline <= now) settle(event, { kind: 'failed', error, unsure: event.unsure })
  return events.filter((event) => event.deadline > now)
}
