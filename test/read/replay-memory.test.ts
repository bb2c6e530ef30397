import { spawn } from 'node:child_process'
import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import { createInterface } from 'node:readline'
import pg from 'pg'
import t from 'tap'
import { createTestDatabase } from '../helper/database.js'
import { plainNode } from '../helper/plain-node.js'

const ROWS = 100_000
const MEBIBYTE = 1024 * 1024
const SLOW_BYTES = 6 * MEBIBYTE
const BYTES_PER_SECOND = MEBIBYTE

/**
 * An app in a process of its own, so that what the reader and the test need is not counted. It says where it listens,
 * and after each line on its stdin the most memory it had until then, as a difference to what it had before the replay.
 */
const CHILD = `
import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify from 'fastify'
import messageJournal from ${JSON.stringify(new URL('../../plugin/index.js', import.meta.url).href)}

const app = Fastify()
await app.register(postgres, { connectionString: process.env.DATABASE_URL })
await app.register(redis, { url: process.env.REDIS_URL })
await app.register(messageJournal, { identify: false, migrate: true })
console.log(await app.listen({ port: 0, host: '127.0.0.1' }))

const now = () => {
  const { rss, heapUsed, external } = process.memoryUsage()
  return { rss, heap: heapUsed + external }
}
let before
let most
setInterval(() => {
  const { rss, heap } = now()
  most = { rss: Math.max(most?.rss ?? 0, rss), heap: Math.max(most?.heap ?? 0, heap) }
}, 20)
process.stdin.on('data', () => {
  global.gc()
  before ??= now()
  most ??= now()
  console.log(JSON.stringify({ rss: most.rss - before.rss, heap: most.heap - before.heap }))
  most = undefined
})
process.stdin.on('end', () => process.exit())
`

async function startChild (databaseUrl: string) {
  const child = spawn(...plainNode('--expose-gc', '--input-type=module', '--eval', CHILD), {
    cwd: new URL('../..', import.meta.url),
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: process.env.PATH, DATABASE_URL: databaseUrl, REDIS_URL: process.env.TEST_REDIS_URL }
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const line = async (): Promise<string> => String((await lines.next()).value)
  return {
    url: await line(),
    async memory (): Promise<{ rss: number, heap: number }> {
      child.stdin.write('now\n')
      return JSON.parse(await line())
    },
    async stop () {
      child.stdin.end()
      await once(child, 'exit')
    }
  }
}

/** Reads at the pace for the first megabytes, and then as fast as it can; resolves with the text's size and last bytes. */
async function readSlowly (response: IncomingMessage): Promise<{ bytes: number, end: string }> {
  const started = performance.now()
  let bytes = 0
  let end = ''
  for await (const chunk of response) {
    bytes += chunk.length
    end = chunk.toString().slice(-40)
    const due = started + bytes / BYTES_PER_SECOND * 1_000
    if (bytes < SLOW_BYTES && due > performance.now()) await new Promise((resolve) => { setTimeout(resolve, due - performance.now()) })
  }
  return { bytes, end }
}

t.test('a replay of a hundred thousand rows to a slow reader costs memory for a page, not for the replay', { timeout: 60_000 }, async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const child = await startChild(databaseUrl)
  t.teardown(() => child.stop())
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  t.teardown(() => client.end())
  const messageIds = ['0198c0de-7a1e-7c3b-9d6e-0a4c9a1f0001', '0198c0de-7a1e-7c3b-9d6e-0a4c9a1f0002']
  for (const [i, messageId] of messageIds.entries()) {
    await client.query('insert into messages (message_id) values ($1)', [messageId])
    await client.query(`insert into message_events (message_id, sequence_no, event_type, payload)
      select $1, n, case when n = $2::int then 'end' else 'answer' end, json_build_object('answer', repeat('x', 185))
      from generate_series(0, $2::int) n`, [messageId, i === 0 ? 5_000 : ROWS])
  }
  const read = async (messageId = '') => {
    const request = http.get(`${child.url}/messages/${messageId}/events`, { agent: false })
    const [response] = await once(request, 'response') as [IncomingMessage]
    return response
  }
  // What the first replay of a process costs is its code and its connections
  await (await read(messageIds[0])).toArray()
  await child.memory()

  const { bytes, end } = await readSlowly(await read(messageIds[1]))
  const { rss, heap } = await child.memory()
  t.ok(bytes > 21e6, `${bytes} bytes`)
  t.match(end, `\nid: ${ROWS}\n\n`)
  t.ok(heap < 64 * MEBIBYTE, `heap and external grew by ${(heap / MEBIBYTE).toFixed(1)} MiB at the most`)
  t.ok(rss < 64 * MEBIBYTE, `resident memory grew by ${(rss / MEBIBYTE).toFixed(1)} MiB at the most`)
})
