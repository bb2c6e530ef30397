import { setTimeout as delay } from 'node:timers/promises'
import type { Bench } from '../harness/bench.js'
import { CheckError } from '../harness/check-error.js'
import { fill } from '../harness/filling.js'
import { needSockets } from '../harness/open-files.js'
import type { Remote } from '../harness/remote.js'
import type { RemoteRuntime } from '../harness/runtime.js'
import type { Measure, Sample, Scenario } from '../harness/scenario.js'
import { messageIdOf, messageIds } from '../harness/workload.js'
import type { CrowdMethods } from '../load/crowd.js'
import { LIVE_FILES } from './live.js'

const VIEWERS = 10_000
/** Each of the peer's viewers has a Redis connection, and Redis takes 10,000 (`maxclients`). */
const PEER_VIEWERS = 1_000
const WARM_UP_VIEWERS = 200
const IDLE_MS = 10_500
const SETTLE_MS = 300
/** The library's default, and somewhat less than it: what begins within that long belongs to one tick. */
const TICK_MS = 5_000
const WITHIN_TICK_MS = TICK_MS * 0.9
/** Viewers that must get an event afterwards. */
const PROBES = 10
const KIB = 1_024

interface Subject {
  which: keyof typeof LIVE_FILES
  viewers: number
  /** Its viewers get the message's row when they open. */
  replays: boolean
  /** What it costs to be idle is measured too. */
  idles: boolean
}

async function openViewers (crowd: Remote<CrowdMethods>, url: string, { which, replays }: Subject, viewers: number): Promise<void> {
  await crowd.call('open', { url, style: LIVE_FILES[which].style, viewers, messageIds: messageIds(viewers), cursor: -1 })
  if (replays) await crowd.call('received', 0)
  await delay(SETTLE_MS)
}

/** In a new process each time: a heap that has grown does not shrink again. */
async function measureIdle (bench: Bench, crowd: Remote<CrowdMethods>, subject: Subject): Promise<Sample> {
  const { app, url } = await bench.startRuntime(LIVE_FILES[subject.which].file, { watched: true })
  if (subject.which === 'resumableStream') for (const messageId of messageIds(subject.viewers)) await app.call('open', messageId)
  await openViewers(crowd, url, subject, WARM_UP_VIEWERS)
  await crowd.call('close')
  await delay(SETTLE_MS)

  const before = await app.call('memory')
  await openViewers(crowd, url, subject, subject.viewers)
  const after = await app.call('memory')
  const sample = {
    viewers: subject.viewers,
    rssKiB: (after.rssBytes - before.rssBytes) / subject.viewers / KIB,
    heldKiB: (after.heldBytes - before.heldBytes) / subject.viewers / KIB,
    subscribers: await bench.subscribers(),
    ...subject.idles ? await measureCost(app, bench.scaled(IDLE_MS)) : {}
  }
  if (subject.idles) await probe(app, crowd, subject.viewers)
  await crowd.call('has', 0, -1) // nobody has left
  await crowd.call('close')
  await app.end()
  return sample
}

async function measureCost (app: RemoteRuntime, idleMs: number): Promise<Sample> {
  await app.call('reset')
  const cpuBefore = await app.call('cpuMs')
  const startedAt = performance.now()
  await delay(idleMs)
  const cpuPercent = (await app.call('cpuMs') - cpuBefore) / (performance.now() - startedAt) * 100
  const queries = await app.call('queriesSeen', WITHIN_TICK_MS)
  if (queries === null) throw new CheckError('nobody counted the statements')
  return { cpuPercent, queriesPerTick: queries.mostInWindow }
}

/** That they are idle must not be because nobody listens. */
async function probe (app: RemoteRuntime, crowd: Remote<CrowdMethods>, viewers: number): Promise<void> {
  for (let index = 0; index < PROBES; index++) {
    const viewer = Math.floor(index * viewers / PROBES)
    await app.call('open', messageIdOf(viewer))
    await app.call('pace', messageIdOf(viewer), 1, 2, 0)
    await crowd.call('has', viewer, 1)
  }
}

export const idle: Scenario = {
  name: 'idle',
  title: '10,000 idle viewers of 10,000 messages',
  description: `Memory is that of the app's process after a garbage collection, above what it was without viewers and after ${WARM_UP_VIEWERS} others had come and gone, for each
viewer: resident, and held by JavaScript (heap and buffers). Then nothing happens for ${IDLE_MS / 1_000} s. Redis is asked how many connections are subscribed; every statement
that the process sends to Postgres is counted, and those that began within ${WITHIN_TICK_MS / 1_000} s are taken for one tick's. Checked: every viewer's row, that no response has ended, and that
an event still reaches viewers. The peer has ${PEER_VIEWERS.toLocaleString('en-US')} viewers: Redis takes 10,000 connections at most, and it needs one for each.`.replaceAll('\n', ' '),
  metrics: {
    viewers: { title: 'viewers', unit: '' },
    rssKiB: { title: 'resident, a viewer', unit: 'KiB', chart: true },
    heldKiB: { title: 'held, a viewer', unit: 'KiB', chart: true },
    subscribers: { title: 'Redis subscribers', unit: '' },
    cpuPercent: { title: 'of a core', unit: '%' },
    queriesPerTick: { title: 'queries a tick', unit: '' }
  },
  goals: [
    { text: 'at most 1.5 × the limit\'s resident memory a viewer', metric: 'rssKiB', to: { contender: 'limit', by: 'ratio' }, atMost: 1.5 },
    { text: 'at most 1.5 × the limit\'s held memory a viewer', metric: 'heldKiB', to: { contender: 'limit', by: 'ratio' }, atMost: 1.5 },
    { text: '1 Redis subscriber connection', metric: 'subscribers', atMost: 1, atLeast: 1, always: true },
    { text: 'under 3 % of a core', metric: 'cpuPercent', atMost: 3 },
    { text: 'at most 1 query a tick', metric: 'queriesPerTick', atMost: 1, always: true }
  ],
  absent: {},
  async prepare (bench) {
    const viewers = bench.scaled(VIEWERS)
    await needSockets(viewers)
    const crowd = await bench.start<CrowdMethods>('load/crowd.ts')

    let isFresh = false
    const start = (subject: Subject) => (): Measure => async () => {
      if (!isFresh) {
        await bench.clear()
        await fill(bench, { messages: viewers, rows: 1, finished: false })
      }
      isFresh = !subject.idles // the probes leave events
      return await measureIdle(bench, crowd, subject)
    }
    const few = Math.min(PEER_VIEWERS, viewers)
    return [
      {
        name: 'ours',
        what: 'the reconnect route',
        library: true,
        start: start({ which: 'ours', viewers, replays: true, idles: true })
      },
      {
        name: 'limit',
        what: 'bare `http` that holds as many sockets',
        start: start({ which: 'bare', viewers, replays: false, idles: false })
      },
      {
        name: 'peer',
        what: 'a Redis connection for each viewer',
        start: start({ which: 'peer', viewers: few, replays: true, idles: false })
      },
      {
        name: 'resumable-stream',
        what: 'viewers that have resumed a stream each; once',
        once: true,
        start: start({ which: 'resumableStream', viewers: few, replays: false, idles: false })
      },
      {
        name: 'better-sse',
        what: 'a session and a channel each; once',
        once: true,
        start: start({ which: 'betterSse', viewers, replays: false, idles: false })
      }
    ]
  }
}
