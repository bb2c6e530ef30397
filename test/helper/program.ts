import fc from 'fast-check'

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

/** What happens to one message. */
export interface Program {
  /** `mixed`: a leased writer, and another one that puts numbers of its own into the same message. */
  kind: 'numbered' | 'leased' | 'mixed'
  writers: WriterPlan[]
  readers: ReaderPlan[]
  /** When rows of another program appear in the table, which publishes nothing; in ms. */
  foreignMs: number[]
  ending: Ending
}

/** What happens to all messages of a run, one after another. */
export type Fault = { waitMs: number } & (
  | { kind: 'killPubsub' | 'terminateBackends' | 'publishNonsense' }
  | { kind: 'freezeRedis' | 'restartRedis', ms: number }
  | { kind: 'losePublishes' | 'doublePublishes' | 'delayPublishes', count: number }
  | { kind: 'restartApp', instance: number }
)

export const ms = (max: number) => fc.nat({ max })
export const instance = fc.nat({ max: 1 })

/** Mostly a token, sometimes enough to fill a socket that nobody reads. */
export const paddingBytes = fc.oneof({ weight: 12, arbitrary: fc.nat({ max: 200 }) }, { weight: 1, arbitrary: fc.constant(150_000) })

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

export const program: fc.Arbitrary<Program> = fc.record<Program>({
  kind: fc.constantFrom('numbered', 'leased', 'mixed'),
  writers: fc.array(writer, { minLength: 1, maxLength: 2, size: 'max' }),
  readers: fc.array(reader, { minLength: 1, maxLength: 4, size: 'max' }),
  foreignMs: fc.array(ms(400), { maxLength: 3 }),
  ending: fc.constantFrom('end', 'fail', 'stop', 'vanish')
}).map((plan) => ({ ...plan, readers: plan.readers.map((reader, index) => index === 0 ? { ...reader, abandons: false } : reader) }))

const waitMs = ms(250)
const short = fc.record({ waitMs, kind: fc.constantFrom('killPubsub' as const, 'terminateBackends' as const, 'publishNonsense' as const) })
const outage = fc.record({ waitMs, kind: fc.constantFrom('freezeRedis' as const, 'restartRedis' as const), ms: ms(600) })
const count = fc.integer({ min: 1, max: 40 })
const publishes = fc.record({ waitMs, kind: fc.constantFrom('losePublishes' as const, 'doublePublishes' as const, 'delayPublishes' as const), count })
const restart = fc.record({ waitMs, kind: fc.constant('restartApp' as const), instance })

export const faults: fc.Arbitrary<Fault[]> = fc.array(fc.oneof(
  { weight: 4, arbitrary: short },
  { weight: 2, arbitrary: outage },
  { weight: 3, arbitrary: publishes },
  { weight: 1, arbitrary: restart }
), { minLength: 1, maxLength: 6, size: 'max' })
