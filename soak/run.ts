/**
 * `npm run soak -- [--minutes 10] [--messages 120]`: two app processes on a private Postgres and a private Redis, messages
 * with several readers each, and a fault every few seconds. At the end every reader is compared with the table, and so
 * is what the writers were told. Prints a report; exits with 1 when anything was lost,
 * doubled or reordered, or an answer was wrong. Ctrl-C ends
 * it early, with a report of what there is. Leaves no process and no folder.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { startPostgres } from '../servers/postgres.js'
import { startRedis } from '../servers/redis.js'
import { createFaults, rage, type Servers } from './chaos.js'
import { startChild } from './children.js'
import { startFleet } from './fleet.js'
import { HEARTBEAT_MS, PRODUCER_IDLE_MS } from './limits.js'
import { report, type MemoryRow, type Totals } from './report.js'
import { createTraffic } from './traffic.js'
import { keepSlowest, type Delivery, type FromReaders, type ToReaders } from './wire.js'

const { values: { minutes, messages } } = parseArgs({
  options: { minutes: { type: 'string', default: '10' }, messages: { type: 'string', default: '120' } }
})
const APPS = 2
const TICK_MS = 500
const WARM_UP_MS = 10_000
/** Intruders that were started last are done by then. */
const LAST_WRITES_MS = 8_000
/** What a dead producer's readers wait for has come by then: the lease, a reconciliation tick, and a margin. */
const LAST_READS_MS = PRODUCER_IDLE_MS + HEARTBEAT_MS + 30_000
/** Rows must outlive a crash of the server, not of the machine; and each must know when it was committed. */
const SETTINGS = { fsync: 'off', full_page_writes: 'off', track_commit_timestamp: 'on', max_connections: '100' }

/** Aborts when the time is up, or when somebody has had enough. */
const over = new AbortController()
process.once('SIGINT', () => { over.abort() })
process.once('SIGTERM', () => { over.abort() })

const folder = await mkdtemp(join(tmpdir(), 'journal-soak-'))
const closers: Array<() => Promise<unknown>> = [() => rm(folder, { recursive: true, force: true })]
try {
  process.exitCode = await main()
} catch (error) {
  console.error('The soak could not be run:', error)
  process.exitCode = 1
} finally {
  for (const close of closers.reverse()) await close()
}

async function startServers (): Promise<Servers & { insist (sql: string, values?: unknown[]): Promise<pg.QueryResult> }> {
  const postgres = await startPostgres({ dataDir: join(folder, 'data'), settings: SETTINGS })
  closers.push(() => postgres.stop())
  const redis = await startRedis()
  closers.push(() => redis.stop())
  const pool = new pg.Pool({ connectionString: postgres.url, max: 4 })
  pool.on('error', () => {})
  closers.push(() => pool.end())

  async function insist (sql: string, values?: unknown[]): Promise<pg.QueryResult> {
    for (;;) {
      try {
        return await pool.query(sql, values)
      } catch {
        await delay(TICK_MS) // it is away, and will be back
      }
    }
  }
  return { postgres, redis, pool, insist }
}

async function main (): Promise<number> {
  const servers = await startServers()
  const { insist } = servers
  const totals: Totals = { messages: 0, readers: 0, acknowledged: 0, refused: 0, wrong: 0, unknown: 0, unknownWithRow: 0, rows: 0, delivered: 0, lost: 0, doubled: 0, reordered: 0, crashes: 0 }
  const slowest = new Map<number, Delivery>()
  const gaps: number[] = []
  const compared = new Map<string, number | null>()

  const fleet = await startFleet({
    size: APPS,
    databaseUrl: servers.postgres.url,
    redisUrl: servers.redis.url,
    onReport (slot, message) {
      if (message.type === 'over') traffic.over(message.writer)
      if (message.type !== 'answered') return
      for (const answer of ['recorded', 'refused', 'unknown'] as const) traffic.note(answer, message[answer])
    }
  })
  closers.push(() => fleet.close())
  const readers = await startChild<ToReaders, FromReaders>('./readers.ts', [servers.postgres.url, ...fleet.urls], (message) => {
    if (message.type !== 'followed') return
    const { slowest: some, gaps: ownGaps, rows, ...counts } = message.comparison
    gaps.push(...ownGaps)
    for (const delivery of some) keepSlowest(slowest, delivery)
    for (const [name, count] of Object.entries(counts) as Array<[keyof typeof counts, number]>) totals[name] += count // its own keys
    if (counts.lost + counts.doubled + counts.reordered > 0) console.error(message.messageId, counts)
    compared.set(message.messageId, rows)
  })
  closers.push(() => readers.kill())

  const traffic = createTraffic(fleet, Number(messages), {
    async insert (messageId, userId) {
      await insist('insert into messages (message_id, user_id) values ($1, $2) on conflict do nothing', [messageId, userId])
    },
    follow (messageId, userId, count) {
      totals.messages++
      totals.readers += count
      readers.send({ type: 'follow', messageId, userId, readers: count })
    }
  })

  async function settleAbandoned (): Promise<void> {
    for (const messageId of traffic.abandoned()) {
      await insist("update messages set status = 'failed' where message_id = $1 and status = 'streaming'", [messageId])
    }
  }

  async function until (condition: () => boolean, withinMs: number): Promise<void> {
    const deadline = Date.now() + withinMs
    while (!condition() && Date.now() < deadline) {
      await settleAbandoned()
      await delay(TICK_MS)
    }
  }

  async function measure (): Promise<Array<MemoryRow['start']>> {
    return await Promise.all(Array.from({ length: APPS }, (_, slot) => fleet.measure(slot)))
  }

  const timer = setTimeout(() => { over.abort() }, Number(minutes) * 60_000)
  closers.push(async () => { clearTimeout(timer) })
  const ticking = setInterval(() => {
    traffic.topUp()
    settleAbandoned()
  }, TICK_MS)
  await delay(WARM_UP_MS, undefined, { signal: over.signal }).catch(() => {})
  const start = await measure()
  console.error(`${traffic.size} producers write, and will be disturbed for ${minutes} minutes`)
  const windows = await rage(createFaults(servers, fleet, traffic, (how, share) => { readers.send({ type: 'disturb', how, share }) }), over.signal)
  const atEnd = await measure()

  clearInterval(ticking)
  await delay(LAST_WRITES_MS)
  for (let slot = 0; slot < APPS; slot++) fleet.send(slot, { type: 'hurry' })
  await until(() => traffic.size === 0 && compared.size === totals.messages, LAST_READS_MS)
  readers.send({ type: 'giveUp' })
  await until(() => compared.size === totals.messages, LAST_READS_MS)

  await compareTable()
  totals.crashes = fleet.crashes
  const memory = start.flatMap((start, slot) => {
    const end = atEnd[slot]
    return end === undefined ? [] : [{ process: slot === 0 ? 'app 1 (one process throughout)' : 'app 2 (killed and replaced)', start, end }]
  })
  console.log(report(totals, windows, [...slowest.values()], gaps, memory))
  return totals.lost + totals.doubled + totals.reordered + totals.wrong + totals.crashes === 0 ? 0 : 1

  /** What the writers were told against the table; and no row may have come after its readers were told the end. */
  async function compareTable (): Promise<void> {
    for (const [messageId, { recorded, refused, unknown }] of traffic.answered) {
      const { rows } = await insist('select (payload->>\'writer\') || \':\' || (payload->>\'n\') as key from message_events where message_id = $1', [messageId])
      const written = rows.flatMap(({ key }) => key ?? [])
      const distinct = new Set(written)
      const late = rows.length - (compared.get(messageId) ?? rows.length)
      const unwritten = [...recorded].filter((key) => !distinct.has(key))
      const denied = [...refused].filter((key) => distinct.has(key) && !unknown.has(key))
      if (late + unwritten.length + denied.length + written.length - distinct.size > 0) {
        const { rows: ends } = await insist("select sequence_no, payload, created_at from message_events where message_id = $1 and event_type not like 'answer%'", [messageId])
        console.error(messageId, { late, unwritten, denied, doubled: written.length - distinct.size, keys: `${written[0]} … ${written.at(-1)}`, ends })
      }
      totals.rows += rows.length
      totals.acknowledged += recorded.size
      totals.refused += refused.size
      totals.unknown += unknown.size
      totals.unknownWithRow += [...unknown].filter((key) => distinct.has(key)).length
      totals.wrong += unwritten.length + denied.length
      totals.lost += late
      totals.doubled += written.length - distinct.size
    }
  }
}
