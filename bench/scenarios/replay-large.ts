import type { Bench } from '../harness/bench.js'
import { fill } from '../harness/filling.js'
import type { RemoteRuntime } from '../harness/runtime.js'
import type { Measure, Sample, Scenario } from '../harness/scenario.js'
import { median } from '../harness/statistics.js'
import { END_PAYLOAD, messageIdOf, PAYLOAD_BYTES } from '../harness/workload.js'
import { createCopy } from '../limits/copy.js'
import type { ReplayerMethods } from '../load/replayer.js'
import type { Remote } from '../harness/remote.js'

const ROWS = 100_000
const WARM_UP_ROWS = 5_000
const MIB = 2 ** 20
/** Replays in one measurement. */
const TIMES = 3

const [LARGE, SMALL, LIVE] = [messageIdOf(0), messageIdOf(1), messageIdOf(2)]

function payloadBytes (rows: number): number {
  return (rows - 1) * PAYLOAD_BYTES + JSON.stringify(END_PAYLOAD).length
}

/** Measures replays of one message from an app's start on, since a heap that has grown once grows no more. */
async function measureReplay (bench: Bench, replayer: Remote<ReplayerMethods>, file: string, live: boolean): Promise<Sample> {
  const rows = bench.scaled(ROWS)
  const { app, url } = await bench.startRuntime(file)
  if (live) await writeLive(app, rows)
  else await replayer.call('replay', { url, messageId: SMALL, rows: WARM_UP_ROWS, ends: true })
  const rates: number[] = []
  const firstMs: number[] = []
  const growths: number[] = []
  for (let times = 0; times < TIMES; times++) {
    const { rssBytes } = await app.call('resetPeak')
    const replayed = await replayer.call('replay', { url, messageId: live ? LIVE : LARGE, rows, ends: !live })
    growths.push(await app.call('peakBytes') - rssBytes)
    rates.push(payloadBytes(rows) / MIB / replayed.totalMs * 1_000)
    firstMs.push(replayed.firstMs)
  }
  await app.end()
  return { mibPerS: median(rates), firstMs: median(firstMs), growthMiB: Math.max(...growths) / MIB }
}

async function writeLive (app: RemoteRuntime, rows: number): Promise<void> {
  await app.call('open', LIVE)
  await app.call('write', LIVE, rows)
}

export const replayLarge: Scenario = {
  name: 'replay-large',
  title: 'Replay of 100,000 rows',
  description: `One client, in a process of its own, reads a message of 100,000 rows (22 MB of frames) from its start, ${TIMES} times in each
measurement, from an app that has just replayed a message of ${WARM_UP_ROWS.toLocaleString('en-US')} rows. The rates count payload bytes. Growth is the largest
resident size of the app's process over that before the request. Checked: every byte that arrives, and that the response ends behind the last row.`.replaceAll('\n', ' '),
  metrics: {
    mibPerS: { title: 'payloads', unit: 'MiB/s', chart: true },
    firstMs: { title: 'first row after', unit: 'ms', chart: true },
    growthMiB: { title: 'memory growth', unit: 'MiB', chart: true }
  },
  goals: [
    { text: 'at least 0.6 of COPY\'s bytes per second', metric: 'mibPerS', to: { contender: 'limit', by: 'ratio' }, atLeast: 0.6 },
    { text: 'first row within 10 ms of the request', metric: 'firstMs', atMost: 10 },
    { text: 'memory growth at most 32 MiB', metric: 'growthMiB', atMost: 32, always: true }
  ],
  absent: { 'better-sse': 'keeps no events' },
  async prepare (bench) {
    const rows = bench.scaled(ROWS)
    await bench.clear()
    await fill(bench, { messages: 1, rows, finished: true })
    await fill(bench, { first: 1, messages: 1, rows: WARM_UP_ROWS, finished: true })
    const copy = await createCopy(bench.servers.databaseUrl, LARGE, { rows, bytes: payloadBytes(rows) })
    const replayer = await bench.start<ReplayerMethods>('load/replayer.ts')
    await replayer.call('expect', { url: '', messageId: LARGE, rows, ends: true })
    await replayer.call('expect', { url: '', messageId: SMALL, rows: WARM_UP_ROWS, ends: true })
    await replayer.call('expect', { url: '', messageId: LIVE, rows, ends: false })
    const start = (file: string, live = false) => (): Measure => async () => {
      return await measureReplay(bench, replayer, file, live)
    }
    return [
      { name: 'ours', what: 'the reconnect route', library: true, start: start('ours/app.ts') },
      {
        name: 'limit',
        what: `\`COPY (SELECT payload …) TO STDOUT\` by ${copy.client}`,
        start: () => async () => {
          const rates: number[] = []
          for (let times = 0; times < TIMES; times++) rates.push(payloadBytes(rows) / MIB / await copy.run() * 1_000)
          return { mibPerS: median(rates) }
        }
      },
      { name: 'peer', what: 'the whole backlog in one read', start: start('peers/handwritten.ts') },
      {
        name: 'resumable-stream',
        what: 'from the memory of the producer, which is still at it; once',
        once: true,
        start: start('peers/resumable-stream.ts', true)
      }
    ]
  }
}
