import type { Scenario } from '../harness/scenario.js'
import { APPEND_ABSENT, APPEND_CHECKS, APPEND_METRICS } from './appending.js'
import { prepareAppend } from './append-many.js'

export const append1000: Scenario = {
  name: 'append-1000',
  title: 'Append, 1,000 producers',
  description: `1,000 producers, each with a message of its own, await each of their events. ${APPEND_CHECKS}`,
  metrics: APPEND_METRICS,
  goals: [
    { text: 'at least 0.55 of the limit, publishing included', metric: 'eventsPerS', to: { contender: 'limit', by: 'ratio' }, atLeast: 0.55 },
    { text: 'at least 6 × the peer', metric: 'eventsPerS', to: { contender: 'peer', by: 'ratio' }, atLeast: 6 }
  ],
  absent: APPEND_ABSENT,
  prepare: async (bench) => await prepareAppend(bench, 1_000)
}
