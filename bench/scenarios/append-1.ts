import type { Scenario } from '../harness/scenario.js'
import { APPEND_ABSENT, APPEND_CHECKS, APPEND_METRICS, createAppend } from './appending.js'

export const append1: Scenario = {
  name: 'append-1',
  title: 'Append, 1 producer',
  description: `One producer awaits each of its events, which have payloads of 200 bytes, before it writes the next. ${APPEND_CHECKS}`,
  metrics: { ...APPEND_METRICS, eventsPerS: { title: 'events', unit: '/s' }, p50Ms: { title: 'p50', unit: 'ms', chart: true } },
  goals: [{ text: 'p50 at most 1.2 × the limit\'s p50', metric: 'p50Ms', to: { contender: 'limit', by: 'ratio' }, atMost: 1.2 }],
  absent: APPEND_ABSENT,
  async prepare (bench) {
    const start = (file: string, publishes = true) => async () => await createAppend(bench, file, 1, publishes)
    return [
      { name: 'ours', what: '`message.record`', library: true, start: start('ours/app.ts') },
      {
        name: 'limit',
        what: 'one prepared INSERT by `pg` into the same table',
        start: start('limits/insert.ts', false)
      },
      { name: 'peer', what: 'one INSERT, then one PUBLISH', start: start('peers/handwritten.ts') }
    ]
  }
}
