import { freePort } from '../../servers/server-process.js'
import type { Bench } from '../harness/bench.js'
import { fillInBulk } from '../harness/bulk.js'
import { CheckError } from '../harness/check-error.js'
import { needSockets } from '../harness/open-files.js'
import type { Remote } from '../harness/remote.js'
import type { Measure, Sample, Scenario } from '../harness/scenario.js'
import { messageIds } from '../harness/workload.js'
import type { StormConfig, StormMethods } from '../load/storm.js'

const VIEWERS = 5_000
/** With 5,000 it takes a minute. */
const PEER_VIEWERS = 500
const ROWS_BEHIND = 200
const TIMEOUT_MS = 60_000
/** The library's default. */
const MAX_CONCURRENT_READS = 8

async function measureStorm (bench: Bench, viewers: Remote<StormMethods>, file: string, crowd: number, comeBack: StormConfig['comeBack']): Promise<Sample> {
  const port = await freePort()
  const { app: first } = await bench.startRuntime(file, { port })
  await viewers.call('open', { port, messageIds: messageIds(bench.scaled(crowd)), last: ROWS_BEHIND, cursor: 0, comeBack })
  await viewers.call('brace')
  await first.kill()
  const { app: second } = await bench.startRuntime(file, { port, watched: true })
  const { cutAt, caughtUpAt, statuses } = await viewers.call('over', TIMEOUT_MS)
  const queries = await second.call('queriesSeen', TIMEOUT_MS)
  const loop = await second.call('loopDelay')
  await viewers.call('close')
  await second.end()
  if (queries === null) throw new CheckError('nobody counted the statements')
  return {
    behind: 0,
    caughtUpMs: caughtUpAt - cutAt,
    queriesInFlight: queries.mostInFlight,
    ...queries.mostReadsInFlight > 0 && { readsInFlight: queries.mostReadsInFlight },
    serverErrors: Object.entries(statuses).reduce((sum, [status, count]) => sum + (status.startsWith('5') ? count : 0), 0),
    loopP99Ms: loop.p99Ms,
    loopMostMs: loop.mostMs
  }
}

export const storm: Scenario = {
  name: 'storm',
  title: 'Storm: 5,000 viewers cut at once',
  description: `${VIEWERS.toLocaleString('en-US')} viewers, each of a message of its own, lose the app's process to SIGKILL. It is started again on the same port, and they come back with a
cursor ${ROWS_BEHIND} rows behind, after as long as the \`retry:\` that each of them got has said: ours says 2 s ± 50 %; the peer says nothing, and Chromium waits 3 s then.
In the second row they ignore it, and are all there as soon as the port is. Time runs from the cut, the start of the new process included. Statements and delays of the event loop are counted in
the new process from when it listens until the last viewer has its last row. Checked: every byte that each viewer gets, and that all of them get everything.`.replaceAll('\n', ' '),
  metrics: {
    behind: { title: 'still behind', unit: '' },
    caughtUpMs: { title: 'all caught up after', unit: 'ms', chart: true },
    queriesInFlight: { title: 'queries at once, at most', unit: '' },
    readsInFlight: { title: 'journal reads among them', unit: '' },
    serverErrors: { title: '5xx', unit: '' },
    loopP99Ms: { title: 'event loop delay, p99', unit: 'ms', chart: true },
    loopMostMs: { title: 'at most', unit: 'ms' }
  },
  goals: [
    { text: 'all caught up', metric: 'behind', atMost: 0, always: true },
    { text: `at most \`maxConcurrentReads\` (${MAX_CONCURRENT_READS}) queries in flight`, metric: 'queriesInFlight', atMost: MAX_CONCURRENT_READS, always: true },
    { text: 'no 5xx', metric: 'serverErrors', atMost: 0, always: true },
    { text: 'event loop delay p99 under 100 ms', metric: 'loopP99Ms', atMost: 100 }
  ],
  absent: { 'resumable-stream': 'loses its streams with the process', 'better-sse': 'keeps no events' },
  async prepare (bench) {
    await needSockets(bench.scaled(VIEWERS))
    await bench.clear()
    await fillInBulk(bench.servers.databaseUrl, { messages: bench.scaled(VIEWERS), rows: ROWS_BEHIND + 1, finished: false })
    const viewers = await bench.start<StormMethods>('load/storm.ts')
    const start = (file: string, crowd: number, comeBack: StormConfig['comeBack']) => (): Measure => async () => {
      return await measureStorm(bench, viewers, file, crowd, comeBack)
    }
    return [
      { name: 'ours', what: 'the reconnect route', library: true, start: start('ours/app.ts', VIEWERS, 'told') },
      {
        name: 'ours, at once',
        what: 'the same, without the wait; once',
        once: true,
        library: true,
        start: start('ours/app.ts', VIEWERS, 'at once')
      },
      {
        name: 'peer',
        what: 'the whole backlog in one read, and a Redis connection for each viewer; 500 viewers',
        start: start('peers/handwritten.ts', PEER_VIEWERS, 'told')
      }
    ]
  }
}
