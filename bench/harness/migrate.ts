import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Library } from './library.js'

/** Makes the tables as the library's own command does. */
export async function migrate (databaseUrl: string, { command }: Pick<Library, 'command'>): Promise<void> {
  const env = { ...process.env, DATABASE_URL: databaseUrl }
  await promisify(execFile)(process.execPath, [command, 'migrate'], { env })
}
