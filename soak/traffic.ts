import { randomUUID } from 'node:crypto'
import type { Fleet } from './fleet.js'
import type { EventKey, Production } from './wire.js'

/** The messages that are being written, and what their writers were told. */
export interface Traffic {
  /** Starts as many messages as are missing. */
  topUp (): void
  /** The producer has nothing more to do. */
  over (writer: number): void
  /** The process was killed, and its producers with it. */
  orphan (slot: number): void
  /** Another app takes some young messages over from their producers. */
  takeOver (): void
  /** Messages that nobody will end, since their producer kept no lease and is dead. */
  abandoned (): string[]
  /** Some of the messages that have a producer with a lease. */
  sample (count: number): Array<{ messageId: string, userId: string }>
  /** Opens so many messages that nobody goes on to produce. */
  leave (count: number): void
  note (answer: keyof Answered, events: readonly EventKey[]): void
  /** What the writers of each message were told. */
  readonly answered: ReadonlyMap<string, Answered>
  readonly size: number
}

/** `writer:n` of each event. */
export type Answered = Record<'recorded' | 'refused' | 'unknown', Set<string>>

export interface TrafficHooks {
  /** Makes the message's row; resolves when it is there. */
  insert (messageId: string, userId: string): Promise<void>
  /** Starts so many readers. */
  follow (messageId: string, userId: string, readers: number): void
}

interface Live extends Production {
  slot: number
  startedAt: number
}

const USERS = 50
const READERS_MAX = 4
const EVENTS_MIN = 60
const EVENTS_MAX = 160
const PAUSE_MS = 200
/** An intruder is done long before the message's own producer is. */
const INTRUDER_EVENTS = 15
const INTRUDER_SHARE = 0.3
const NUMBERED_SHARE = 0.3
const YOUNG_MS = 4_000

export function createTraffic (fleet: Fleet, target: number, { insert, follow }: TrafficHooks): Traffic {
  const live = new Map<number, Live>()
  const answered = new Map<string, Answered>()
  const abandoned = new Set<string>()
  let writers = 0
  let users = 0
  let beginning = 0

  function slotFor (messageId: string, other = false): number | undefined {
    const slots = [...fleet.live]
    const owner = [...live.values()].find((production) => production.messageId === messageId)?.slot
    return other ? slots.find((slot) => slot !== owner) : slots[Math.floor(Math.random() * slots.length)]
  }

  function start (slot: number, production: Omit<Production, 'writer'>): void {
    const writer = ++writers
    live.set(writer, { ...production, writer, slot, startedAt: Date.now() })
    fleet.send(slot, { type: 'produce', production: { ...production, writer } })
  }

  async function begin (kind: 'numbered' | 'leased' | 'left' = Math.random() < NUMBERED_SHARE ? 'numbered' : 'leased'): Promise<void> {
    const messageId = randomUUID()
    const userId = `user-${++users % USERS}`
    answered.set(messageId, { recorded: new Set(), refused: new Set(), unknown: new Set() })
    beginning++
    await insert(messageId, userId)
    beginning--
    const slot = slotFor(messageId)
    if (slot === undefined) return
    const events = EVENTS_MIN + Math.floor(Math.random() * (EVENTS_MAX - EVENTS_MIN))
    start(slot, { messageId, userId, kind, events, pauseMs: PAUSE_MS })
    if (kind === 'numbered' && Math.random() < INTRUDER_SHARE) {
      const other = slotFor(messageId, true)
      if (other !== undefined) start(other, { messageId, userId, kind: 'intruder', events: INTRUDER_EVENTS, pauseMs: PAUSE_MS })
    }
    follow(messageId, userId, 1 + Math.floor(Math.random() * READERS_MAX))
  }

  return {
    answered,
    get size () { return live.size + beginning },
    topUp () {
      const messages = [...live.values()].filter(({ kind }) => kind !== 'intruder').length + beginning
      for (let missing = target - messages; missing > 0; missing--) begin()
    },
    over (writer) { live.delete(writer) },
    orphan (slot) {
      for (const [writer, production] of live) {
        if (production.slot !== slot) continue
        live.delete(writer)
        if (production.kind === 'numbered') abandoned.add(production.messageId)
      }
    },
    takeOver () {
      for (const { messageId, userId, kind, startedAt, writer } of [...live.values()]) {
        const other = slotFor(messageId, true)
        if (kind !== 'leased' || Date.now() - startedAt > YOUNG_MS || other === undefined) continue
        live.delete(writer)
        start(other, { messageId, userId, kind, events: EVENTS_MIN, pauseMs: PAUSE_MS })
      }
    },
    abandoned () {
      const written = new Set([...live.values()].map(({ messageId }) => messageId))
      const over = [...abandoned].filter((messageId) => !written.has(messageId))
      for (const messageId of over) abandoned.delete(messageId)
      return over
    },
    sample (count) {
      const leased = [...live.values()].filter(({ kind }) => kind === 'leased')
      return leased.sort(() => Math.random() - 0.5).slice(0, count)
    },
    leave (count) {
      for (let left = count; left > 0; left--) begin('left')
    },
    note (answer, events) {
      for (const [messageId, key] of events) answered.get(messageId)?.[answer].add(key)
    }
  }
}
