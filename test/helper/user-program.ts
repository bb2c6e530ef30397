import fc from 'fast-check'
import { instance, ms, paddingBytes, reader, type ReaderPlan } from './program.js'

/** Some notifications of one turn. */
export interface PublishStep {
  count: number
  paddingBytes: number
  /** Whether the publisher waits for the outcome before it goes on. */
  awaited: boolean
  pauseMs: number
}

export interface PublisherPlan {
  instance: number
  steps: PublishStep[]
}

export interface UserReaderPlan extends ReaderPlan {
  /** `start`: its cursor is the user's first entry; `now`: it has none. */
  from: 'start' | 'now'
}

/** What happens to one user. */
export interface UserProgram {
  publishers: PublisherPlan[]
  readers: UserReaderPlan[]
  /** When entries of another program appear in the stream, which announces nothing; in ms. */
  foreignMs: number[]
  /** When all but the newest few entries are trimmed. */
  trims: Array<{ afterMs: number, keep: number }>
}

const publishStep = fc.record<PublishStep>({
  count: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.integer({ min: 2, max: 40 }) }),
  paddingBytes,
  awaited: fc.boolean(),
  pauseMs: fc.oneof(fc.constant(0), ms(40))
})

const publisher = fc.record<PublisherPlan>({ instance, steps: fc.array(publishStep, { minLength: 1, maxLength: 25, size: 'max' }) })

const userReader = fc.tuple(reader, fc.constantFrom('start' as const, 'start' as const, 'now' as const))
  .map(([plan, from]): UserReaderPlan => ({ ...plan, from }))

const trim = fc.record({ afterMs: ms(500), keep: fc.integer({ min: 1, max: 20 }) })

export const userProgram: fc.Arbitrary<UserProgram> = fc.record<UserProgram>({
  publishers: fc.array(publisher, { minLength: 1, maxLength: 3, size: 'max' }),
  readers: fc.array(userReader, { minLength: 1, maxLength: 4, size: 'max' }),
  foreignMs: fc.array(ms(400), { maxLength: 3 }),
  trims: fc.oneof({ weight: 2, arbitrary: fc.constant<UserProgram['trims']>([]) }, { weight: 1, arbitrary: fc.array(trim, { minLength: 1, maxLength: 3, size: 'max' }) })
}).map((plan) => ({ ...plan, readers: plan.readers.map((reader, index) => index === 0 ? { ...reader, abandons: false } : reader) }))
