import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { findRevision } from '../../bench/harness/revision.js'
import { buildRevision } from '../../bench/harness/worktree.js'
import { startAppProcess, type AppProcess } from '../helper/app-process.js'
import { createTestDatabase } from '../helper/database.js'
import { ask, eventsOf, eventually, makeMessage, statusOf } from '../helper/journal.js'
import { untilQuiet } from '../helper/locks.js'
import { connect, ids, type Connection } from '../helper/sse.js'

/** The last revision whose tables have no `last_no`. */
const BEFORE = 'd3926e1'
const EVENTS = 50
/** Seven processes are busy: one may get no turn for some seconds. */
const TIMES = { heartbeatMs: 500, producerIdleMs: 20_000, reconcileMs: 500 }

interface Produced {
  recorded: boolean[]
  aborted: boolean
}

const root = process.env.TEST_REPOSITORY ?? ''
const revision = await findRevision(root, BEFORE).catch(() => null)

t.test('a release beside the one before it, on the same tables', { skip: revision === null ? `git does not know ${BEFORE} here` : false }, async (t) => {
  if (revision === null) return
  const { plugin } = await buildRevision(root, revision, (close) => { t.teardown(close) })
  const databaseUrl = await createTestDatabase(t)
  const options = { ...TIMES, databaseUrl, redisUrl: process.env.TEST_REDIS_URL ?? '', migrate: true, maxConnectionsPerUser: 0 }
  const older = await startAppProcess(t, { ...options, plugin })
  const second = await startAppProcess(t, { ...options, plugin })
  const producers: Array<{ app: AppProcess, messageId: string }> = []
  const readers: Array<{ reader: Connection, messageId: string }> = []

  async function read (messageId: string, ...apps: AppProcess[]): Promise<void> {
    for (const { url } of apps) readers.push({ messageId, reader: await connect(t, `${url}/api/messages/${messageId}/events`) })
  }

  async function produce (app: AppProcess, over?: string): Promise<string> {
    const { messageId } = await app.ask<{ messageId: string }>('/produce', { everyMs: 30, atOnce: 2, ...over !== undefined && { messageId: over } })
    producers.push({ app, messageId })
    return messageId
  }

  const produced = async (app: AppProcess, messageId: string) => await app.ask<Produced>(`/produced/${messageId}`)
  const untilMore = async (app: AppProcess, messageId: string) => {
    const wanted = (await produced(app, messageId)).recorded.length + EVENTS
    while ((await produced(app, messageId)).recorded.length < wanted) await delay(100)
  }

  /** Two processes record the same numbers of one message without a lease. */
  async function recordBoth (messageId: string, apps: AppProcess[]): Promise<boolean[]> {
    const answers = await Promise.all(apps.map(async (app) => {
      const recorded: boolean[] = []
      for (let sequenceNo = 0; sequenceNo < EVENTS; sequenceNo++) {
        const answer = await app.ask<{ recorded: boolean }>('/record', { messageId, sequenceNo, eventType: `of ${app.pid}: ${sequenceNo}` })
        recorded.push(answer.recorded)
      }
      return recorded
    }))
    return answers.flat()
  }

  // As in a deployment: while the older release is at work, the tables are migrated under it
  const begunBefore = [await produce(older), await produce(second), await produce(older)] as const
  for (const messageId of begunBefore) await read(messageId, older, second)
  for (const messageId of begunBefore) await untilMore(messageId === begunBefore[1] ? second : older, messageId)
  const newer = await startAppProcess(t, options)
  for (const messageId of begunBefore) await read(messageId, newer)
  const begunAfter = [await produce(older), await produce(newer), await produce(newer)] as const
  for (const messageId of begunAfter) await read(messageId, older, newer)
  const shared = await makeMessage(databaseUrl)
  await read(shared, older, newer)
  await untilMore(newer, begunAfter[1])

  const [fromOlder, fromNewer] = [begunBefore[2], begunAfter[2]]
  await produce(newer, fromOlder)
  await produce(second, fromNewer)
  await eventually(async () => (await produced(older, fromOlder)).aborted && (await produced(newer, fromNewer)).aborted)
  for (const [app, messageId] of [[newer, fromOlder], [second, fromNewer], [older, begunBefore[0]], [older, begunAfter[0]], [newer, begunAfter[1]]] as const) await untilMore(app, messageId)
  t.ok((await recordBoth(shared, [older, newer])).every((recorded) => recorded))

  // The process of a message dies: whoever notices says so
  await second.kill()
  for (const [app, messageId] of [[older, begunBefore[0]], [newer, fromOlder], [older, begunAfter[0]], [newer, begunAfter[1]]] as const) {
    t.same(await app.ask(`/end/${messageId}`, {}), { ended: true })
    await eventually(async () => await statusOf(databaseUrl, messageId) === 'complete')
  }
  t.same(await older.ask('/record', { messageId: shared, sequenceNo: 2 * EVENTS, eventType: 'end' }), { recorded: true })
  for (const messageId of [begunBefore[1], fromNewer]) await eventually(async () => await statusOf(databaseUrl, messageId) === 'failed')

  await untilQuiet(databaseUrl)
  for (const { app, messageId } of producers.filter(({ app }) => app !== second)) {
    const rows = await ask<{ no: number }>(databaseUrl, "select (payload ->> 'no')::int as no from message_events where message_id = $1 and (payload ->> 'pid')::int = $2", [messageId, app.pid])
    const found = new Map<number, number>()
    for (const { no } of rows) found.set(no, (found.get(no) ?? 0) + 1)
    const { recorded } = await produced(app, messageId)
    t.same(recorded.flatMap((answer, no) => Number(answer) === (found.get(no) ?? 0) ? [] : `${no}: ${answer}`), [], `${recorded.length} answers`)
  }
  for (const messageId of new Set(readers.map((each) => each.messageId))) await read(messageId, older, newer)
  for (const { reader, messageId } of readers.filter(({ reader }) => !reader.response.destroyed || reader.response.complete)) {
    await reader.ended
    t.same(ids(reader), (await eventsOf(databaseUrl, messageId)).map(({ sequenceNo }) => String(sequenceNo)))
  }
})
