import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const COMMAND = fileURLToPath(new URL('../../dist/plugin/cli.js', import.meta.url))

/** Makes the tables as the library's own command does. */
export async function migrate (databaseUrl: string): Promise<void> {
  await promisify(execFile)(process.execPath, [COMMAND, 'migrate'], { env: { ...process.env, DATABASE_URL: databaseUrl } })
}
