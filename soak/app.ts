/** A process of the soak: an app with the plugin, and producers that write into it. Arguments: port, Postgres, Redis. */
import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify, { type FastifyInstance } from 'fastify'
import { setTimeout as delay } from 'node:timers/promises'
import messageJournal from '../plugin/index.js'
import { makeLossy } from '../test/helper/lossy.js'
import { HEARTBEAT_MS, PRODUCER_IDLE_MS } from './limits.js'
import { obeyParent, tellParent, type EventKey, type Production, type ToApp } from './wire.js'

const [port, databaseUrl = '', redisUrl = ''] = process.argv.slice(2)
const REPORT_MS = 100
const RETRY_MS = 100
const TEXT = 'to a reader who comes back '.repeat(4)

let running: Promise<FastifyInstance> = start()
let losePublishes: ReturnType<typeof makeLossy> = () => {}
const state = { hurry: false }
const answers: Record<'recorded' | 'refused' | 'unknown', EventKey[]> = { recorded: [], refused: [], unknown: [] }

async function start (): Promise<FastifyInstance> {
  const app = Fastify({ forceCloseConnections: true, logger: { level: 'error', stream: { write: noteUnknown } } })
  await app.register(postgres, { connectionString: databaseUrl })
  await app.register(redis, { url: redisUrl })
  await app.register(messageJournal, {
    prefix: '/api',
    identify: (request) => request.headers['x-user']?.toString(),
    migrate: true,
    heartbeatMs: HEARTBEAT_MS,
    producerIdleMs: PRODUCER_IDLE_MS,
    maxConnectionsPerUser: 64
  })
  losePublishes = makeLossy(app.redis)
  await app.listen({ port: Number(port), host: '127.0.0.1' })
  return app
}

/** Redis or Postgres may be away just then. */
async function startAgain (): Promise<FastifyInstance> {
  for (;;) {
    try {
      return await start()
    } catch {
      await delay(RETRY_MS)
    }
  }
}

async function restart (): Promise<void> {
  const app = await running
  running = app.close().then(startAgain)
  await running
  tellParent({ type: 'ready' })
}

function note (messageId: string, key: string, committed: boolean): void {
  (committed ? answers.recorded : answers.refused).push([messageId, key])
}

/** The key of an event is in its type. */
function typeOf (key: string): string {
  return `answer ${key}`
}

function noteUnknown (line: string): void {
  const { msg, messageId, eventType } = JSON.parse(line) as { msg: string, messageId: string, eventType: string } // the library's own
  if (msg.includes('outcome unknown')) answers.unknown.push([messageId, eventType.replace('answer ', '')])
}

function payloadOf ({ writer }: Production, n: number): object {
  return { type: 'answer', writer, n, answer: TEXT }
}

async function pause ({ pauseMs }: Production): Promise<void> {
  if (!state.hurry) await delay(pauseMs * (0.5 + Math.random()))
}

async function produceLeased (production: Production): Promise<void> {
  const { messageId, userId, writer, events } = production
  const message = await persist(async () => await (await running).journal.openMessage({ messageId, userId }))
  const results: Array<Promise<void>> = []
  for (let n = 0; n < events && !state.hurry && !message.signal.aborted; n++) {
    const key = `${writer}:${n}`
    results.push(message.record(typeOf(key), payloadOf(production, n)).then((committed) => { note(messageId, key, committed) }))
    await pause(production)
  }
  await Promise.all(results)
  if (message.signal.aborted) return // another producer, or another process, goes on or ends it
  if (writer % 10 === 0) await message.fail(new Error('on purpose'))
  else await message.end()
}

async function produceNumbered (production: Production): Promise<void> {
  const { messageId, writer, events } = production
  let app = await running
  let results: Array<Promise<void>> = []
  let number = -1
  for (let n = 0; n < events && !state.hurry; n++) {
    if (app !== await running) {
      await Promise.all(results)
      results = []
      app = await running
    }
    number += Math.random() < 0.1 ? 2 : 1
    const key = `${writer}:${n}`
    results.push(app.journal.recordEvent(messageId, number, typeOf(key), payloadOf(production, n)).then((committed) => { note(messageId, key, committed) }))
    await pause(production)
  }
  await Promise.all(results)
  if (production.kind === 'intruder') return
  while (await isOpen(messageId)) {
    if (await (await running).journal.recordEvent(messageId, number + 1, 'end', { type: 'end' })) break
    await delay(RETRY_MS)
  }
  await persist(async () => await (await running).pg.query("update messages set status = 'complete' where message_id = $1 and status = 'streaming'", [messageId]))
}

/** Somebody may have stopped it; and an `end` whose answer was lost may be there. */
async function isOpen (messageId: string): Promise<boolean> {
  const { rows } = await persist(async () => await (await running).pg.query(`
    select from messages m where message_id = $1 and status = 'streaming'
    and not exists (select from message_events e where e.message_id = m.message_id and event_type = 'end')`, [messageId]))
  return rows.length > 0
}

async function persist<T> (work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work()
    } catch {
      await delay(RETRY_MS)
    }
  }
}

async function produce (production: Production): Promise<void> {
  const { kind, messageId, userId } = production
  if (kind === 'left') await persist(async () => await (await running).journal.openMessage({ messageId, userId }))
  else await (kind === 'leased' ? produceLeased(production) : produceNumbered(production))
  tellParent({ type: 'over', writer: production.writer })
}

setInterval(() => {
  const { recorded, refused, unknown } = answers
  if (recorded.length + refused.length + unknown.length === 0) return
  tellParent({ type: 'answered', recorded, refused, unknown })
  Object.assign(answers, { recorded: [], refused: [], unknown: [] })
}, REPORT_MS)

obeyParent<ToApp>((message) => {
  if (message.type === 'produce') produce(message.production)
  else if (message.type === 'restart') restart()
  else if (message.type === 'losePublishes') losePublishes('lose', message.count)
  else if (message.type === 'hurry') state.hurry = true
  else if (message.type === 'block') for (const end = performance.now() + message.ms; performance.now() < end;);
  else {
    globalThis.gc?.()
    const { rss, heapUsed } = process.memoryUsage()
    tellParent({ type: 'memory', rssBytes: rss, heapBytes: heapUsed })
  }
})
await running
tellParent({ type: 'ready' })
