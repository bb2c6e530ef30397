import type { Bench } from '../harness/bench.js'
import { checkPublishes, checkStreams } from '../harness/checks.js'
import type { Measure, Sample, Scenario } from '../harness/scenario.js'
import { userIds } from '../harness/workload.js'
import type { XaddMethods } from '../limits/xadd.js'
import { perSecond } from './appending.js'

const USERS = 1_000
const MEASURED_MS = 1_500
const LIMIT_MS = 1_000
const WARM_UP_MS = 500
const PER_PIPELINE = 1_000
const PIPELINES = [1, 2]

const users = userIds(USERS)

async function checked (bench: Bench, publish: () => Promise<{ events: number, elapsedMs: number }>): Promise<number> {
  await bench.clearRedis()
  const before = await bench.publishes()
  const published = await publish()
  await checkPublishes(bench, before, published.events)
  await checkStreams(bench.servers.redisUrl, users, published.events)
  return perSecond(published)
}

async function startOurs (bench: Bench): Promise<Measure> {
  const { app } = await bench.startRuntime('ours/app.ts')

  async function measure (durationMs: number): Promise<Sample> {
    let latency = {}
    const notificationsPerS = await checked(bench, async () => {
      const { p50Ms, p99Ms, ...published } = await app.call('notify', users, durationMs)
      latency = { p50Ms, p99Ms }
      return published
    })
    return { notificationsPerS, ...latency }
  }

  await measure(bench.scaled(WARM_UP_MS))
  return async () => await measure(bench.scaled(MEASURED_MS))
}

async function startLimit (bench: Bench): Promise<Measure> {
  const limit = await bench.start<XaddMethods>('limits/xadd.ts')
  await limit.call('start', bench.servers.redisUrl)

  async function measure (durationMs: number): Promise<Sample> {
    const rates: number[] = []
    for (const pipelines of PIPELINES) {
      const publish = async () => await limit.call('publish', users, PER_PIPELINE, pipelines, durationMs)
      rates.push(await checked(bench, publish))
    }
    return { notificationsPerS: Math.max(...rates) }
  }

  await measure(bench.scaled(WARM_UP_MS))
  return async () => await measure(bench.scaled(LIMIT_MS))
}

export const userPublish: Scenario = {
  name: 'user-publish',
  title: 'Notifications, 1,000 publishers',
  description: `Each of ${USERS.toLocaleString('en-US')} users is sent notifications, one after the other, each awaited; payloads of 200 bytes. Checked: every entry of every user's stream, and that Redis
has executed as many PUBLISH commands. The limit sends XADD and PUBLISH for the same notifications in pipelines of ${PER_PIPELINE.toLocaleString('en-US')}, 1 or 2 of them under way, whichever is faster; its
PUBLISH does not wait for the id that XADD answers with.`.replaceAll('\n', ' '),
  metrics: {
    notificationsPerS: { title: 'notifications', unit: '/s', chart: true },
    p50Ms: { title: 'p50', unit: 'ms' },
    p99Ms: { title: 'p99', unit: 'ms' }
  },
  goals: [{ text: 'at least 0.7 of the limit', metric: 'notificationsPerS', to: { contender: 'limit', by: 'ratio' }, atLeast: 0.7 }],
  absent: {
    peer: 'has no notifications',
    'resumable-stream': 'has no notifications',
    'better-sse': 'has no notifications'
  },
  async prepare (bench) {
    return [
      { name: 'ours', what: '`publishUserEvent`', library: true, start: () => startOurs(bench) },
      { name: 'limit', what: 'bare pipelines of XADD and PUBLISH', start: () => startLimit(bench) }
    ]
  }
}
