import fc from 'fast-check'
import { TABLE_LOCKS } from './locks.js'

/** One event of a writer. */
export interface Step {
  /** Numbered writers: from the highest number so far. 1 is the next, more leaves a hole, 0 or less collides or comes late. */
  move: number
  paddingBytes: number
  /** Whether the writer waits for the outcome before it goes on. */
  awaited: boolean
  pauseMs: number
}

export interface WriterPlan {
  instance: number
  /** A leased message's second writer takes it over after this long. */
  delayMs: number
  steps: Step[]
}

/** What a reader does with one connection, once it has had so many events of it. */
export interface Habit {
  afterEvents: number
  then: 'cut' | 'pause'
  pauseMs: number
}

export interface ReaderPlan {
  instance: number
  delayMs: number
  /** One a connection; the connections after these are kept. */
  habits: Habit[]
  /** Never comes back from its last habit. */
  abandons: boolean
}

/**
 * - `end`, `fail`: the writer's own. `stop`: the route.
 * - `vanish`: the writer's process dies (leased); the row says complete, and the terminal event is missing (numbered).
 */
export type Ending = 'end' | 'fail' | 'stop' | 'vanish'

/** A row of another program, which publishes nothing. It stands so far above the newest one, and leaves a hole when that is more than 1. */
export interface ForeignRow {
  afterMs: number
  ahead: number
}

/** What happens to one message. */
export interface Program {
  /** `mixed`: a leased writer, and another one that puts numbers of its own into the same message. `left`: it is opened, and nobody produces it. */
  kind: 'numbered' | 'leased' | 'mixed' | 'left'
  writers: WriterPlan[]
  readers: ReaderPlan[]
  foreign: ForeignRow[]
  ending: Ending
  /** With `stop`: after so many ms, if there is one writer, whatever it is about; `null`: behind its last event. */
  stopMs: number | null
  /** With `vanish`, and when it is left: the app that finds out goes on with it, where apps have the option `takeOver`. */
  takenOver: boolean
}

/** What happens to all messages of a run, one after another. */
export type Fault = { waitMs: number } & (
  | { kind: 'killPubsub' | 'terminateBackends' | 'publishNonsense' }
  | { kind: 'freezeRedis' | 'restartRedis', ms: number }
  | { kind: 'losePublishes' | 'doublePublishes' | 'delayPublishes', count: number }
  | { kind: 'restartApp', instance: number }
  | DatabaseFault
)

/** Postgres, the way to it, or the app's own event loop keeps statements waiting for so many ms; or the database's clock is set. */
export type DatabaseFault =
  | { kind: 'lockTable', table: 'messages' | 'message_events', mode: string, ms: number }
  | { kind: 'lockRow' | 'freezePostgres' | 'blockLoop', ms: number }
  | { kind: 'stepClock', byMs: number }
  | LinkFault

export interface LinkFault {
  kind: 'stallLink' | 'dropLink'
  instance: number
  direction: 'toServer' | 'toClient'
  ms: number
}

export const ms = (max: number) => fc.nat({ max })
export const instance = fc.nat({ max: 1 })

/** Mostly a token, sometimes enough to fill a socket that nobody reads. */
export const paddingBytes = fc.oneof({ weight: 12, arbitrary: fc.nat({ max: 200 }) }, { weight: 1, arbitrary: fc.constant(150_000) })

/** How much longer a slow writer pauses. */
const SLOWER = 8

const step = fc.record<Step>({
  move: fc.oneof({ weight: 6, arbitrary: fc.constant(1) }, { weight: 3, arbitrary: fc.integer({ min: -5, max: 4 }) }),
  paddingBytes,
  awaited: fc.boolean(),
  pauseMs: fc.oneof(fc.constant(0), ms(40))
})

const writer = fc.record<WriterPlan>({
  instance,
  delayMs: ms(300),
  steps: fc.array(step, { minLength: 1, maxLength: 25, size: 'max' })
})

const habit = fc.record<Habit>({ afterEvents: ms(8), then: fc.constantFrom('cut', 'cut', 'pause'), pauseMs: ms(400) })

export const reader = fc.record<ReaderPlan>({
  instance,
  delayMs: fc.oneof(fc.constant(0), ms(500)),
  habits: fc.array(habit, { maxLength: 4, size: 'max' }),
  abandons: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) })
})

const foreignRow = fc.record<ForeignRow>({
  afterMs: ms(400),
  ahead: fc.oneof({ weight: 2, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.integer({ min: -2, max: 5 }) })
})

export const program: fc.Arbitrary<Program> = fc.record<Program>({
  kind: fc.oneof({ weight: 12, arbitrary: fc.constantFrom('numbered' as const, 'leased' as const, 'mixed' as const) }, { weight: 1, arbitrary: fc.constant('left' as const) }),
  writers: fc.array(writer, { minLength: 1, maxLength: 2, size: 'max' }),
  readers: fc.array(reader, { minLength: 1, maxLength: 4, size: 'max' }),
  foreign: fc.array(foreignRow, { maxLength: 3 }),
  ending: fc.constantFrom('end', 'fail', 'stop', 'vanish'),
  stopMs: fc.option(ms(300), { freq: 2 }),
  takenOver: fc.boolean()
}).map((plan) => ({ ...plan, readers: plan.readers.map((reader, index) => index === 0 ? { ...reader, abandons: false } : reader) }))

/** Writers that are still at it when the second and the third fault come. */
export const slowProgram: fc.Arbitrary<Program> = program.map((plan) => ({
  ...plan,
  writers: plan.writers.map((writer) => ({ ...writer, steps: writer.steps.map((step) => ({ ...step, pauseMs: step.pauseMs * SLOWER })) }))
}))

const waitMs = ms(250)
const short = fc.record({ waitMs, kind: fc.constantFrom('killPubsub' as const, 'terminateBackends' as const, 'publishNonsense' as const) })
const outage = fc.record({ waitMs, kind: fc.constantFrom('freezeRedis' as const, 'restartRedis' as const), ms: ms(600) })
const count = fc.integer({ min: 1, max: 40 })
const publishes = fc.record({ waitMs, kind: fc.constantFrom('losePublishes' as const, 'doublePublishes' as const, 'delayPublishes' as const), count })
const restart = fc.record({ waitMs, kind: fc.constant('restartApp' as const), instance })

const likely = [
  { weight: 4, arbitrary: short },
  { weight: 2, arbitrary: outage },
  { weight: 3, arbitrary: publishes },
  { weight: 1, arbitrary: restart }
]

export const faults: fc.Arbitrary<Fault[]> = fc.array(fc.oneof(...likely), { minLength: 1, maxLength: 6, size: 'max' })

/** Shorter than a statement may take, longer than that, longer than an event is retried, and now and then longer than it is doubted. */
const delayMs = fc.oneof(
  { weight: 3, arbitrary: ms(300) }, { weight: 4, arbitrary: fc.integer({ min: 300, max: 2_500 }) }, { weight: 1, arbitrary: fc.integer({ min: 2_500, max: 5_000 }) }
)
const database: fc.Arbitrary<DatabaseFault & { waitMs: number }> = fc.oneof(
  fc.record({ waitMs, kind: fc.constant('lockTable' as const), table: fc.constantFrom('messages' as const, 'message_events' as const), mode: fc.constantFrom(...TABLE_LOCKS), ms: delayMs }),
  fc.record({ waitMs, kind: fc.constantFrom('lockRow' as const, 'freezePostgres' as const), ms: delayMs }),
  fc.record({ waitMs, kind: fc.constant('blockLoop' as const), ms: ms(1_200) }),
  fc.record({ waitMs, kind: fc.constantFrom('stallLink' as const, 'dropLink' as const), instance, direction: fc.constantFrom('toServer' as const, 'toClient' as const), ms: delayMs }),
  fc.record({ waitMs, kind: fc.constant('stepClock' as const), byMs: fc.integer({ min: -60_000, max: 60_000 }) })
)

export const databaseFaults: fc.Arbitrary<Fault[]> = fc.array(fc.oneof(...likely, { weight: 40, arbitrary: database }), { minLength: 1, maxLength: 5, size: 'max' })
