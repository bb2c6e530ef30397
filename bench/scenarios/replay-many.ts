import { fill } from '../harness/filling.js'
import type { Measure, Sample, Scenario } from '../harness/scenario.js'
import { messageIds } from '../harness/workload.js'
import type { AutocannonMethods } from '../load/autocannon.js'

const CONNECTIONS = 100
const ROWS = 1_000
const DURATION_S = 2
const WARM_UP_S = 1

export const replayMany: Scenario = {
  name: 'replay-many',
  title: 'Replay of 1,000 rows, 100 connections',
  description: `autocannon, in a process of its own, on ${CONNECTIONS} connections, each with a finished message of its own, which it reads over and over.
Checked: every byte of every body; an answer that is not a 200, a failed connection or a timeout counts as an error. The limit sends the same bodies from memory.`.replaceAll('\n', ' '),
  metrics: {
    requestsPerS: { title: 'replays', unit: '/s', chart: true },
    p50Ms: { title: 'p50', unit: 'ms' },
    p99Ms: { title: 'p99', unit: 'ms' },
    errors: { title: 'errors', unit: '' }
  },
  goals: [
    { text: 'at least 0.25 of the limit\'s requests per second', metric: 'requestsPerS', to: { contender: 'limit', by: 'ratio' }, atLeast: 0.25 },
    { text: 'no error, no timeout', metric: 'errors', atMost: 0, always: true }
  ],
  absent: { 'resumable-stream': 'has nothing to replay once the stream is done', 'better-sse': 'keeps no events' },
  async prepare (bench) {
    await bench.clear()
    await fill(bench, { messages: CONNECTIONS, rows: ROWS, finished: true })
    const load = await bench.start<AutocannonMethods>('load/autocannon.ts')

    const start = (file: string, query = '') => async (): Promise<Measure> => {
      const { url } = await bench.startRuntime(file)
      const measure = async (durationS: number): Promise<Sample> => {
        const result = await load.call('run', { url, connections: CONNECTIONS, messageIds: messageIds(CONNECTIONS), rows: ROWS, query, durationS })
        return { requestsPerS: result.requests / result.elapsedMs * 1_000, p50Ms: result.p50Ms, p99Ms: result.p99Ms, errors: result.errors }
      }
      await measure(WARM_UP_S)
      return async () => await measure(bench.quick ? WARM_UP_S : DURATION_S)
    }

    return [
      { name: 'ours', what: 'the reconnect route', library: true, start: start('ours/app.ts') },
      {
        name: 'limit',
        what: 'bare `http`, from memory',
        start: start('limits/bare-http.ts', `?rows=${ROWS}`)
      },
      {
        name: 'peer',
        what: 'the whole backlog in one read, and a Redis connection',
        start: start('peers/handwritten.ts')
      }
    ]
  }
}
