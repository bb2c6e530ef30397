import type { Scenario } from '../harness/scenario.js'
import { APPEND_ABSENT, APPEND_CHECKS, APPEND_METRICS } from './appending.js'
import { prepareAppend } from './append-many.js'

export const append32: Scenario = {
  name: 'append-32',
  title: 'Append, 32 producers',
  description: `32 producers, each with a message of its own, await each of their events. ${APPEND_CHECKS}`,
  metrics: APPEND_METRICS,
  goals: [
    { text: 'at least 3 × the peer', metric: 'eventsPerS', to: { contender: 'peer', by: 'ratio' }, atLeast: 3 },
    { text: 'p99 no worse than the peer\'s', metric: 'p99Ms', to: { contender: 'peer', by: 'ratio' }, atMost: 1 }
  ],
  absent: APPEND_ABSENT,
  prepare: async (bench) => await prepareAppend(bench, 32)
}
