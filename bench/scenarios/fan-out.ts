import type { Measure, Sample, Scenario } from '../harness/scenario.js'
import type { CrowdMethods } from '../load/crowd.js'
import { startLive, withViewers, type LIVE_FILES } from './live.js'

const VIEWERS = 100
const MEASURED_MS = 1_500
const WARM_UP_MS = 500
/** What a producer of ours has under way, and still keeps its order; the others await each event. */
const OURS_IN_FLIGHT = 1_000

export const fanOut: Scenario = {
  name: 'fan-out',
  title: 'Fan-out, 1 producer and 100 viewers of one message',
  description: `The producer writes as fast as it can for ${MEASURED_MS / 1_000} s: ours with up to ${OURS_IN_FLIGHT.toLocaleString('en-US')} events under way, which keep their order; the others
await each event. The rate counts the frames that all viewers, which are in another process, have, until the last of them has the last frame. Checked: every byte that
each viewer gets, and the table. The limit writes the same bytes without a database and without Redis; what resumable-stream and better-sse send is not committed.`.replaceAll('\n', ' '),
  metrics: { framesPerS: { title: 'frames', unit: '/s', chart: true }, eventsPerS: { title: 'events', unit: '/s' } },
  goals: [{ text: 'at least 0.6 of the limit\'s frames per second', metric: 'framesPerS', to: { contender: 'limit', by: 'ratio' }, atLeast: 0.6 }],
  absent: {},
  async prepare (bench) {
    const crowd = await bench.start<CrowdMethods>('load/crowd.ts')

    const start = (which: keyof typeof LIVE_FILES, inFlight = 1) => async (): Promise<Measure> => {
      const live = await startLive(bench, which)
      const measure = async (durationMs: number): Promise<Sample> => await withViewers(bench, live, crowd, VIEWERS, async (messageId) => {
        const { events, startedAt } = await live.app.call('flood', messageId, 0, durationMs, inFlight)
        const arrivedAt = await crowd.call('received', events - 1)
        const eventsPerS = events / ((arrivedAt[events - 1] ?? NaN) - startedAt) * 1_000
        return { result: { framesPerS: eventsPerS * VIEWERS, eventsPerS }, events }
      })
      await measure(bench.scaled(WARM_UP_MS))
      return async () => await measure(bench.scaled(MEASURED_MS))
    }

    return [
      {
        name: 'ours',
        what: '`message.record`, and viewers of the reconnect route',
        library: true,
        start: start('ours', OURS_IN_FLIGHT)
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
