import type { RemoteRuntime } from '../harness/runtime.js'
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
    const { app: ours } = await bench.startRuntime('ours/app.ts')
    const { app: peer } = await bench.startRuntime('peers/handwritten.ts')
    const { app: limit } = await bench.startRuntime('limits/insert.ts')
    const measure = async (app: RemoteRuntime, publishes = true) => await createAppend(bench, app, 1, publishes)
    return [
      { name: 'ours', what: '`message.record`', measure: await measure(ours) },
      { name: 'limit', what: 'one prepared INSERT by `pg` into the same table', measure: await measure(limit, false) },
      { name: 'peer', what: 'one INSERT, then one PUBLISH', measure: await measure(peer) }
    ]
  }
}
