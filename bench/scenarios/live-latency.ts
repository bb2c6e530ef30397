import type { Bench } from '../harness/bench.js'
import { checkRows } from '../harness/checks.js'
import type { Measure, Scenario } from '../harness/scenario.js'
import { messageIdOf } from '../harness/workload.js'
import type { CrowdMethods } from '../load/crowd.js'
import type { SubscriberMethods } from '../load/subscriber.js'
import { latencies, latencySample, startLive, withViewers, type LIVE_FILES } from './live.js'

const EVENTS = 200
const WARM_UP_EVENTS = 40
const INTERVAL_MS = 8

/** Commits and publishes in one process, and receives in another. */
async function createLimit (bench: Bench): Promise<Measure> {
  const { app } = await bench.startRuntime('limits/publish.ts')
  const subscriber = await bench.start<SubscriberMethods>('load/subscriber.ts')
  let messages = 0
  return async () => {
    await bench.clear()
    const messageId = messageIdOf(messages++)
    await app.call('open', messageId)
    await subscriber.call('subscribe', bench.servers.redisUrl, messageId)
    const [sentAt, arrivedAt] = await Promise.all([app.call('pace', messageId, 0, EVENTS, INTERVAL_MS), subscriber.call('received', EVENTS - 1)])
    await checkRows(bench, EVENTS)
    return latencySample(latencies(sentAt, arrivedAt, WARM_UP_EVENTS))
  }
}

export const liveLatency: Scenario = {
  name: 'live-latency',
  title: 'Live, 1 producer and 1 viewer',
  description: `From the call that writes an event to its frame at a viewer in another process, one event every ${INTERVAL_MS} ms. Checked: every byte that the viewer
gets, and the table. What resumable-stream and better-sse send is not committed.`.replaceAll('\n', ' '),
  metrics: {
    p50Ms: { title: 'p50', unit: 'ms', chart: true },
    p99Ms: { title: 'p99', unit: 'ms' }
  },
  goals: [{ text: 'p50 at most 1 ms above the limit\'s', metric: 'p50Ms', to: { contender: 'limit', by: 'difference' }, atMost: 1 }],
  absent: {},
  async prepare (bench) {
    const crowd = await bench.start<CrowdMethods>('load/crowd.ts')

    const start = (which: keyof typeof LIVE_FILES) => async (): Promise<Measure> => {
      const live = await startLive(bench, which)
      return async () => await withViewers(bench, live, crowd, 1, async (messageId) => {
        const [sentAt, arrivedAt] = await Promise.all([live.app.call('pace', messageId, 0, EVENTS, INTERVAL_MS), crowd.call('received', EVENTS - 1)])
        return { result: latencySample(latencies(sentAt, arrivedAt, WARM_UP_EVENTS)), events: EVENTS }
      })
    }

    return [
      {
        name: 'ours',
        what: '`message.record`, and a viewer of the reconnect route',
        library: true,
        start: start('ours')
      },
      {
        name: 'limit',
        what: 'one prepared INSERT, a bare PUBLISH, and a subscriber',
        start: () => createLimit(bench)
      },
      { name: 'peer', what: 'one INSERT, one PUBLISH, a connection for the viewer', start: start('peer') },
      {
        name: 'resumable-stream',
        what: 'a viewer that has resumed the stream; once',
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
