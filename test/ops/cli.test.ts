import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import t from 'tap'
import { runCommand } from '../../plugin/ops/command.js'
import { MIGRATION_LOCK } from '../../plugin/ops/migrate.js'
import { createTestDatabase } from '../helper/database.js'
import { plainNode } from '../helper/plain-node.js'

/** The newest version there are scripts for. */
const LATEST = 3

interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

const UNREACHABLE = 'postgres://someone:s3cr3t@127.0.0.1:1/nothing'

async function run (argv: string[], env: Record<string, string> = {}): Promise<Outcome> {
  const outcome: Outcome = { code: null, stdout: '', stderr: '' }
  outcome.code = await runCommand(argv, env, {
    stdout: { write: (text) => { outcome.stdout += text } },
    stderr: { write: (text) => { outcome.stderr += text } }
  })
  return outcome
}

/** The command as a process of its own; what it does is measured where the tests do it in theirs. */
async function spawnCommand (argv: string[], databaseUrl: string): Promise<Outcome> {
  const cli = fileURLToPath(new URL('../../plugin/ops/cli.js', import.meta.url))
  const child = spawn(...plainNode(cli, ...argv), {
    env: { ...process.env, DATABASE_URL: databaseUrl },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const outcome: Outcome = { code: null, stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => { outcome.stdout += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { outcome.stderr += text })
  await once(child, 'close')
  outcome.code = child.exitCode
  return outcome
}

t.test('migrate says from where to where it went', async (t) => {
  const DATABASE_URL = await createTestDatabase(t)
  t.same(await run(['migrate'], { DATABASE_URL }), { code: 0, stdout: `migrated from 0 to ${LATEST}\n`, stderr: '' })
  t.same(await run(['migrate'], { DATABASE_URL }), { code: 0, stdout: `already at ${LATEST}\n`, stderr: '' })
  t.same(await run(['migrate', '--to', '0'], { DATABASE_URL }), { code: 0, stdout: `migrated from ${LATEST} to 0\n`, stderr: '' })
  t.same(await run(['migrate', '--schema', 'journal'], { DATABASE_URL }), { code: 0, stdout: `migrated from 0 to ${LATEST}\n`, stderr: '' })
  t.same(await run(['migrate', '--schema', 'journal', '--to', '1'], { DATABASE_URL }), { code: 0, stdout: `migrated from ${LATEST} to 1\n`, stderr: '' })
})

t.test('--help shows the usage', async (t) => {
  for (const argv of [['--help'], ['-h'], ['migrate', '--help']]) {
    const { code, stdout, stderr } = await run(argv)
    t.match(stdout, /^Usage: fastify-message-journal migrate \[--to N\] \[--schema NAME\]\n/)
    t.match({ code, stderr }, { code: 0, stderr: '' })
  }
})

t.test('what cannot be done is said on stderr, with exit code 1', async (t) => {
  const failures: Array<[argv: string[], databaseUrl: string, reason: RegExp]> = [
    [[], UNREACHABLE, /^the one command is "migrate", not ""; see --help\n$/],
    [['migrat'], UNREACHABLE, /^the one command is "migrate", not "migrat"; see --help\n$/],
    [['migrate', 'now'], UNREACHABLE, /not "migrate now"/],
    [['migrate', '--force'], UNREACHABLE, /^Unknown option '--force'/],
    [['migrate', '--to', 'newest'], UNREACHABLE, /^--to must be a whole number, not newest\n$/],
    [['migrate', '--to', ''], UNREACHABLE, /^--to must be a whole number, not \n$/],
    [['migrate', '--to=-1'], UNREACHABLE, /^--to must be a whole number, not -1\n$/],
    [['migrate', '--to', '99'], UNREACHABLE, /whole number from 0 to \d+, not 99\n$/],
    [['migrate'], '', /^DATABASE_URL is not set\n$/],
    [['migrate'], UNREACHABLE, /failed, and nothing was changed: connect ECONNREFUSED 127\.0\.0\.1:1\n$/],
    [['migrate'], 'postgres://someone:s3cr3t@[', /Invalid URL\n$/],
    [['migrate'], 'postgres://someone:p@s3cr3t/word@127.0.0.1:1/nothing', /percent-encode the special characters/],
    [['migrate'], 'postgres://someone:12/s3cr3t@127.0.0.1:1/nothing', /percent-encode the special characters/]
  ]
  for (const [argv, databaseUrl, reason] of failures) {
    const { code, stdout, stderr } = await run(argv, { DATABASE_URL: databaseUrl })
    t.match(stderr, reason)
    t.same({ code, stdout }, { code: 1, stdout: '' })
    t.notMatch(stderr, /s3cr3t/, 'the password stays unsaid')
    t.notMatch(stderr, /^ +at /m, 'no stack')
  }
  t.match(await run(['migrate']), { code: 1, stderr: 'DATABASE_URL is not set\n' })
})

t.test('a database newer than the command, and a foreign table, are said to be that', async (t) => {
  const DATABASE_URL = await createTestDatabase(t)
  const client = new pg.Client(DATABASE_URL)
  await client.connect()
  t.teardown(() => client.end())
  await client.query('create table messages (id integer)')
  t.match(await run(['migrate'], { DATABASE_URL }), { code: 1, stderr: /public\.messages has no column message_id uuid/ })
  await client.query('drop table messages')
  await run(['migrate'], { DATABASE_URL })
  await client.query('insert into journal_schema_version (version) values (99)')
  t.match(await run(['migrate'], { DATABASE_URL }), { code: 1, stderr: /at version 99, newer than this code's \d/ })
})

t.test('the program ends with the exit code of the command', async (t) => {
  t.match(await spawnCommand(['migrate'], UNREACHABLE), { code: 1, stdout: '', stderr: /ECONNREFUSED/ })
})

t.test('ten processes that start at once all succeed, and one of them did the work', async (t) => {
  const url = await createTestDatabase(t)
  const client = new pg.Client(url)
  await client.connect()
  t.teardown(() => client.end())

  // None may be done before the last is there.
  await client.query('select pg_advisory_lock($1)', [MIGRATION_LOCK.toString()])
  let arrived = false
  const processes = Promise.all(Array.from({ length: 10 }, () => spawnCommand(['migrate'], url)))
    .finally(() => { arrived = true })
  while (!arrived) {
    const { rows } = await client.query<{ waiting: number }>(`
      select count(*)::int as waiting from pg_locks join pg_database on pg_database.oid = database
      where locktype = 'advisory' and not granted and datname = current_database()`)
    if (rows[0]?.waiting === 10) arrived = true
  }
  await client.query('select pg_advisory_unlock_all()')

  const outcomes = await processes
  t.same(outcomes.map(({ code, stderr }) => ({ code, stderr })), Array(10).fill({ code: 0, stderr: '' }))
  t.same(outcomes.map(({ stdout }) => stdout).sort(), [...Array(9).fill(`already at ${LATEST}\n`), `migrated from 0 to ${LATEST}\n`])
})
