import type { Bench } from '../harness/bench.js'
import { fillInBulk } from '../harness/bulk.js'
import { checkRows } from '../harness/checks.js'
import { freeBytes } from '../harness/machine.js'
import type { Remote } from '../harness/remote.js'
import type { Measure, Scenario } from '../harness/scenario.js'
import { messageIdOf, messageIds } from '../harness/workload.js'
import type { AutocannonMethods } from '../load/autocannon.js'
import { perSecond } from './appending.js'

const ROWS = 1_000
const MESSAGES = 10_000
/** Of the large table, from all over it. */
const REPLAYED_MESSAGES = 100
const PRODUCERS = 32
const APPEND_MS = 1_500
const WARM_UP_MS = 500
const REPLAY_S = 2
const WARM_UP_S = 1
/** Rows, indexes and the log that is written meanwhile. */
const DISK_BYTES = 10e9

const SMALL = '1,000 rows'
const LARGE = '10,000,000 rows'

async function needDisk ({ quick, folder }: Bench): Promise<void> {
  if (quick || await freeBytes(folder) >= DISK_BYTES) return
  throw new Error(`${DISK_BYTES / 1e9} GB of free disk are needed in ${folder}`)
}

/**
 * Measures an app on a table with so many messages. What it appends is left in a large table, and cleared from a small
 * one.
 */
async function createMeasure (
  bench: Bench,
  load: Remote<AutocannonMethods>,
  name: string,
  messages: number
): Promise<Measure> {
  const database = await bench.createDatabase(name)
  const filling = { messages, rows: ROWS, finished: true }
  await fillInBulk(database.url, filling)
  const { app, url } = await bench.startRuntime('ours/app.ts', { databaseUrl: database.url })
  const replayed = Math.min(REPLAYED_MESSAGES, messages)
  const replayedIds = Array.from({ length: replayed }, (_, index) => messageIdOf(Math.floor(index * messages / replayed)))
  let next = messages

  async function append (durationMs: number): Promise<number> {
    await bench.checkpoint()
    const appended = await app.call('append', messageIds(PRODUCERS, next), durationMs)
    await checkRows(database, appended.events, next)
    next += PRODUCERS
    if (messages === 1) {
      await database.clear()
      await fillInBulk(database.url, filling)
    }
    return perSecond(appended)
  }

  async function replay (durationS: number): Promise<number> {
    const { requests, elapsedMs, errors } = await load.call('run', { url, connections: 1, messageIds: replayedIds, rows: ROWS, query: '', durationS })
    if (errors > 0) throw new Error(`${errors} replays failed`)
    return requests / elapsedMs * 1_000
  }

  await append(bench.scaled(WARM_UP_MS))
  await replay(WARM_UP_S)
  return async () => ({ appendsPerS: await append(bench.scaled(APPEND_MS)), replaysPerS: await replay(bench.quick ? WARM_UP_S : REPLAY_S) })
}

export const growth: Scenario = {
  name: 'growth',
  title: 'Growth: 1,000 and 10,000,000 rows in the table',
  description: `The same work on two databases of one server: ${PRODUCERS} producers that await each of their events, and one connection that replays messages of ${ROWS.toLocaleString('en-US')} rows, one after
another, ${REPLAYED_MESSAGES} different ones where there are so many. Rows have payloads of 200 bytes, as everywhere, and those of a message stand together in the table. Checked: every row that was appended, and every byte of every replay.`.replaceAll('\n', ' '),
  metrics: {
    appendsPerS: { title: 'events appended', unit: '/s', chart: true },
    replaysPerS: { title: 'replays', unit: '/s', chart: true }
  },
  goals: [
    { text: 'append: at least 0.8 of the rate at 1,000 rows', metric: 'appendsPerS', of: LARGE, to: { contender: SMALL, by: 'ratio' }, atLeast: 0.8 },
    { text: 'replay: at least 0.8 of the rate at 1,000 rows', metric: 'replaysPerS', of: LARGE, to: { contender: SMALL, by: 'ratio' }, atLeast: 0.8 }
  ],
  absent: {
    peer: 'the question is what the size of the table does to us',
    'resumable-stream': 'has no table',
    'better-sse': 'has no table'
  },
  async prepare (bench) {
    const load = await bench.start<AutocannonMethods>('load/autocannon.ts')
    return [
      { name: SMALL, what: 'ours', library: true, start: () => createMeasure(bench, load, 'journal_small', 1) },
      {
        name: LARGE,
        what: 'ours',
        library: true,
        async start () {
          await needDisk(bench)
          return await createMeasure(bench, load, 'journal_large', bench.scaled(MESSAGES))
        }
      }
    ]
  }
}
