import type { Measure, Scenario } from '../harness/scenario.js'
import type { CrowdMethods } from '../load/crowd.js'
import { latencies, latencySample, startLive, withViewers, type LIVE_FILES } from './live.js'

const VIEWERS = 1_000
const EVENTS = 150
const WARM_UP_EVENTS = 25
const INTERVAL_MS = 20

export const live1000: Scenario = {
  name: 'live-1000',
  title: 'Live, 1 producer and 1,000 viewers of one message',
  description: `50 events a second. The time of an event is that from the call that writes it until the last of the ${VIEWERS.toLocaleString('en-US')} viewers, which are in another process,
has its frame. Checked: every byte that each viewer gets, and the table. The limit writes the same bytes without a database and without Redis;
what resumable-stream and better-sse send is not committed.`.replaceAll('\n', ' '),
  metrics: {
    p50Ms: { title: 'p50 to the last viewer', unit: 'ms' },
    p99Ms: { title: 'p99 to the last viewer', unit: 'ms', chart: true }
  },
  goals: [{ text: 'p99 to the last viewer at most 2 × the limit\'s', metric: 'p99Ms', to: { contender: 'limit', by: 'ratio' }, atMost: 2 }],
  absent: {},
  async prepare (bench) {
    const viewers = bench.scaled(VIEWERS)
    const crowd = await bench.start<CrowdMethods>('load/crowd.ts')

    const start = (which: keyof typeof LIVE_FILES) => async (): Promise<Measure> => {
      const live = await startLive(bench, which)
      return async () => await withViewers(bench, live, crowd, viewers, async (messageId) => {
        const [sentAt, arrivedAt] = await Promise.all([live.app.call('pace', messageId, 0, EVENTS, INTERVAL_MS), crowd.call('received', EVENTS - 1)])
        return { result: latencySample(latencies(sentAt, arrivedAt, WARM_UP_EVENTS)), events: EVENTS }
      })
    }

    return [
      {
        name: 'ours',
        what: '`message.record`, and viewers of the reconnect route',
        library: true,
        start: start('ours')
      },
      { name: 'limit', what: 'bare `http`, the same bytes to as many sockets', start: start('bare') },
      {
        name: 'peer',
        what: 'one INSERT, one PUBLISH, a Redis connection for each viewer',
        start: start('peer')
      },
      {
        name: 'resumable-stream',
        what: 'viewers that have resumed the stream; once',
        once: true,
        start: start('resumableStream')
      },
      {
        name: 'better-sse',
        what: 'a broadcast in the same process; once',
        once: true,
        start: start('betterSse')
      }
    ]
  }
}
