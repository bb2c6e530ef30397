import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/** The servers of `demo/services` run the tests: what they do on machines without this or that is seen there, not here. */
const folders = ['plugin', 'routes', 'client', 'demo', 'demo/answers']

/** tap measures the same files whatever test runs; plugin/cli.ts is three lines, run as a process of its own. */
const files = folders.flatMap((folder) => readdirSync(folder)
  .filter((name) => name.endsWith('.ts'))
  .map((name) => join(folder, name)))
  .filter((file) => file !== join('plugin', 'cli.ts') && file !== join('demo', 'start.ts'))

export default () => files
