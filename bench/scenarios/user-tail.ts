import { expectEqual } from '../harness/checks.js'
import type { Measure, Scenario } from '../harness/scenario.js'
import { userIds } from '../harness/workload.js'
import type { UserCrowdMethods } from '../load/user-crowd.js'
import { latencies, latencySample } from './live.js'

const USERS = 1_000
const EVENTS_PER_USER = 6
const WARM_UP_PER_USER = 1
const PER_TICK = 20
const INTERVAL_MS = 10

export const userTail: Scenario = {
  name: 'user-tail',
  title: 'Notifications, 1,000 users with one viewer each',
  description: `${(PER_TICK / INTERVAL_MS * 1_000).toLocaleString('en-US')} notifications a second, to the users in turn. The time of one is that from the call that publishes it to its frame at the user's viewer, which is in another process.
The share of a core is that of the app's process meanwhile. Checked: every notification that each viewer gets, its number, payload and id. The limit writes as many bytes without Redis.`.replaceAll('\n', ' '),
  metrics: {
    p50Ms: { title: 'p50', unit: 'ms' },
    p99Ms: { title: 'p99', unit: 'ms', chart: true },
    cpuPercent: { title: 'of a core', unit: '%', chart: true }
  },
  goals: [
    { text: 'p99, to the limit\'s', metric: 'p99Ms', to: { contender: 'limit', by: 'ratio' } },
    { text: 'share of a core, to the limit\'s', metric: 'cpuPercent', to: { contender: 'limit', by: 'ratio' } }
  ],
  absent: {
    peer: 'has no notifications',
    'resumable-stream': 'has no notifications',
    'better-sse': 'has no notifications'
  },
  async prepare (bench) {
    const crowd = await bench.start<UserCrowdMethods>('load/user-crowd.ts')
    const users = userIds(bench.scaled(USERS))
    const events = users.length * EVENTS_PER_USER

    const start = (file: string) => async (): Promise<Measure> => {
      const { app, url } = await bench.startRuntime(file)
      return async () => {
        await bench.clearRedis()
        await crowd.call('open', url, users)
        const cpuBefore = await app.call('cpuMs')
        const startedAt = performance.now()
        const [sentAt, arrivedAt] = await Promise.all([app.call('paceUsers', users, events, PER_TICK, INTERVAL_MS), crowd.call('received', events)])
        const cpuPercent = (await app.call('cpuMs') - cpuBefore) / (performance.now() - startedAt) * 100
        expectEqual('notifications that arrived', await crowd.call('count'), events)
        await crowd.call('close')
        return { ...latencySample(latencies(sentAt, arrivedAt, WARM_UP_PER_USER * users.length)), cpuPercent }
      }
    }

    return [
      {
        name: 'ours',
        what: '`publishUserEvent`, and a viewer of the route for each user',
        library: true,
        start: start('ours/app.ts')
      },
      {
        name: 'limit',
        what: 'bare `http`, as many bytes to as many sockets',
        start: start('limits/bare-http.ts')
      }
    ]
  }
}
