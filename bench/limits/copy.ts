import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import pg from 'pg'
import { to as copyTo } from 'pg-copy-streams'
import { expectEqual } from '../harness/checks.js'

/** What Postgres gives when all it has to do is to give: COPY of a message's payloads in their order. */
export interface Copy {
  /** Which program asks for it. */
  client: 'psql' | 'pg-copy-streams'
  /** In ms, from the command to its end. */
  run (): Promise<number>
}

/** With psql when it is on the PATH. Has counted the rows and their bytes once, lines ends aside. */
export async function createCopy (databaseUrl: string, messageId: string, expected: { rows: number, bytes: number }): Promise<Copy> {
  const sql = `copy (select payload from message_events where message_id = '${messageId}' order by sequence_no) to stdout`
  const hasPsql = await promisify(execFile)('psql', ['--version']).then(() => true, () => false)
  if (!hasPsql) return { client: 'pg-copy-streams', run: async () => await runInNode(databaseUrl, sql, expected) }
  await runPsql(databaseUrl, sql, expected)
  return { client: 'psql', run: async () => await timePsql(databaseUrl, sql) }
}

/** psql's own time, without what it takes to start it. */
async function timePsql (databaseUrl: string, sql: string): Promise<number> {
  const { stdout } = await promisify(execFile)('psql', ['-X', '-c', '\\timing on', '-c', '\\o /dev/null', '-c', sql, databaseUrl])
  return Number(/^Time: ([\d.]+) ms/m.exec(stdout)?.[1])
}

async function runPsql (databaseUrl: string, sql: string, expected: { rows: number, bytes: number }): Promise<void> {
  const psql = spawn('psql', ['-X', '-c', sql, databaseUrl], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(psql, 'exit')
  check(await count(psql.stdout), expected)
  await exited
}

async function runInNode (databaseUrl: string, sql: string, expected: { rows: number, bytes: number }): Promise<number> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  const startedAt = performance.now()
  const counted = await count(client.query(copyTo(sql)))
  const tookMs = performance.now() - startedAt
  await client.end()
  check(counted, expected)
  return tookMs
}

async function count (stream: AsyncIterable<Buffer>): Promise<{ rows: number, bytes: number }> {
  let rows = 0
  let bytes = 0
  for await (const chunk of stream) {
    bytes += chunk.length
    for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, at + 1)) rows++
  }
  return { rows, bytes: bytes - rows }
}

function check (counted: { rows: number, bytes: number }, expected: { rows: number, bytes: number }): void {
  expectEqual('rows of COPY', counted.rows, expected.rows)
  expectEqual('bytes of COPY', counted.bytes, expected.bytes)
}
