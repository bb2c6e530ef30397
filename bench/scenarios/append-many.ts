import type { Bench } from '../harness/bench.js'
import { checkRows } from '../harness/checks.js'
import type { Contender, Measure } from '../harness/scenario.js'
import { messageIdSql, messageIds, USER_ID } from '../harness/workload.js'
import type { InsertMethods } from '../limits/insert.js'
import { createAppend, perSecond } from './appending.js'

const CONNECTIONS = [1, 2, 4]
const LIMIT_MS = 750
const WARM_UP_MS = 300

/** Many producers, each of which awaits each of its events; the limit gets the same rows in the largest batches that ours makes. */
export async function prepareAppend (bench: Bench, producers: number): Promise<Contender[]> {
  return [
    {
      name: 'ours',
      what: '`message.record`',
      library: true,
      start: () => createAppend(bench, 'ours/app.ts', producers)
    },
    {
      name: 'limit',
      what: 'the same rows through `unnest`, 1,000 an INSERT; the best of 1, 2 and 4 connections',
      start: () => createLimit(bench, producers)
    },
    {
      name: 'peer',
      what: 'one INSERT, then one PUBLISH',
      start: () => createAppend(bench, 'peers/handwritten.ts', producers)
    }
  ]
}

async function createLimit (bench: Bench, producers: number): Promise<Measure> {
  const limit = await bench.start<InsertMethods>('limits/insert.ts')
  await limit.call('start', bench.otherServers)

  async function insertBatches (connections: number, durationMs: number): Promise<number> {
    await bench.clear()
    await bench.query(`insert into messages (message_id, user_id) select ${messageIdSql('n')}, $1 from generate_series(0, $2 - 1) n`, [USER_ID, producers])
    const inserted = await limit.call('insertBatches', messageIds(producers), connections, durationMs)
    await checkRows(bench, inserted.events)
    return perSecond(inserted)
  }

  for (const connections of CONNECTIONS) await insertBatches(connections, bench.scaled(WARM_UP_MS))
  return async () => {
    const rates: number[] = []
    for (const connections of CONNECTIONS) rates.push(await insertBatches(connections, bench.scaled(LIMIT_MS)))
    return { eventsPerS: Math.max(...rates) }
  }
}
