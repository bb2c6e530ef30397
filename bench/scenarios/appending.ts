import type { Bench } from '../harness/bench.js'
import { checkPublishes, checkRows } from '../harness/checks.js'
import type { Appended } from '../harness/producing.js'
import type { Measure, Metric, Sample } from '../harness/scenario.js'
import { messageIds } from '../harness/workload.js'

/** What the three append scenarios share. */

export const APPEND_METRICS = {
  eventsPerS: { title: 'events', unit: '/s', chart: true },
  p50Ms: { title: 'p50', unit: 'ms' },
  p99Ms: { title: 'p99', unit: 'ms' }
} satisfies Record<string, Metric>

export const APPEND_ABSENT = {
  'resumable-stream': 'writes nothing that would outlive the process',
  'better-sse': 'writes nothing that would outlive the process'
}

export const APPEND_CHECKS = 'Checked after every measurement: the table holds exactly the events that were acknowledged, numbered ' +
  'without a gap, byte for byte; and Redis has executed as many PUBLISH commands.'

const MEASURED_MS = 1_500
const WARM_UP_MS = 600

export function perSecond ({ events, elapsedMs }: Pick<Appended, 'events' | 'elapsedMs'>): number {
  return events / elapsedMs * 1_000
}

/** Starts a contender and warms it up. */
export async function createAppend (bench: Bench, file: string, producers: number, publishes = true): Promise<Measure> {
  const { app } = await bench.startRuntime(file)
  let messages = 0

  async function append (durationMs: number): Promise<Sample> {
    await bench.clear()
    const before = await bench.publishes()
    const appended = await app.call('append', messageIds(producers, messages), durationMs)
    messages += producers
    await checkRows(bench, appended.events)
    await checkPublishes(bench, before, publishes ? appended.events : 0)
    return { eventsPerS: perSecond(appended), p50Ms: appended.p50Ms, p99Ms: appended.p99Ms }
  }

  await append(bench.scaled(WARM_UP_MS))
  return async () => await append(bench.scaled(MEASURED_MS))
}
