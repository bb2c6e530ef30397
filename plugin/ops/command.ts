import { parseArgs } from 'node:util'
import pg from 'pg'
import { ignore } from '../postgres/pool.js'
import { migrate, reasonOf } from './migrate.js'

const USAGE = `Usage: fastify-message-journal migrate [--to N] [--schema NAME]

Brings the journal's tables to the newest version, or to version N; 0 drops them with all they hold.
The database is the one in the environment variable DATABASE_URL.

  --to N         the version to go to, upwards or down
  --schema NAME  the tables' schema, created if it is not there; by default what the search_path finds
  -h, --help     shows this
`

/** Milliseconds until a server that does not answer counts as unreachable. */
const CONNECT_TIMEOUT_MS = 10_000

interface Writer {
  write (text: string): unknown
}

/**
 * Runs the command line: `argv` without the program's name, `env` for DATABASE_URL. Resolves with the exit code: 0, or
 * 1 with the cause on `stderr`. Never rejects, and never writes the password.
 */
export async function runCommand (
  argv: string[],
  env: Record<string, string | undefined>,
  { stdout, stderr }: { stdout: Writer, stderr: Writer }
): Promise<0 | 1> {
  try {
    const { values, positionals } = parseArgs({
      args: argv,
      allowPositionals: true,
      options: { to: { type: 'string' }, schema: { type: 'string' }, help: { type: 'boolean', short: 'h' } }
    })
    if (values.help) {
      stdout.write(USAGE)
      return 0
    }
    if (positionals.length !== 1 || positionals[0] !== 'migrate') {
      throw new Error(`the one command is "migrate", not "${positionals.join(' ')}"; see --help`)
    }
    const { from, to } = await migrateDatabase(env.DATABASE_URL, {
      ...values.to !== undefined && { to: wholeNumber(values.to) },
      ...values.schema !== undefined && { schema: values.schema }
    })
    stdout.write(from === to ? `already at ${to}\n` : `migrated from ${from} to ${to}\n`)
    return 0
  } catch (error) {
    stderr.write(`${reasonOf(error)}\n`)
    return 1
  }
}

async function migrateDatabase (url: string | undefined, options: { to?: number, schema?: string }) {
  if (url === undefined || url === '') throw new Error('DATABASE_URL is not set')
  refuseSplitPassword(url)
  const pool = new pg.Pool({ connectionString: url, max: 1, connectionTimeoutMillis: CONNECT_TIMEOUT_MS })
  pool.on('error', ignore)
  try {
    return await migrate(pool, options)
  } finally {
    await pool.end()
  }
}

/**
 * A bare `/`, `?` or `#` in a password ends the host part of the URL early. The rest of the password would be taken for
 * a host's or a database's name, and be in the error about it.
 */
function refuseSplitPassword (url: string): void {
  if (/^[^:/?#]+:\/\/[^/?#]*[/?#].*@/s.test(url)) {
    throw new Error('DATABASE_URL has an "@" after its host: percent-encode the special characters of the password')
  }
}

function wholeNumber (text: string): number {
  if (!/^\d+$/.test(text)) throw new Error(`--to must be a whole number, not ${text}`)
  return Number(text)
}
