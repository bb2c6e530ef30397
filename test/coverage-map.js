import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/** The servers of `demo/services` run the tests: what they do on machines without this or that is seen there, not here. */
const folders = ['plugin', 'routes', 'client', 'demo', 'demo/answers', 'demo/cluster', 'demo/routes', 'demo/store', 'demo/work']

/** tap measures the same files whatever test runs. These are run as processes of their own, or only by hand. */
const entries = ['plugin/cli.ts', 'demo/start.ts', 'demo/vite.config.ts', 'demo/screenshots.ts', 'demo/cluster/worker.ts']

const files = folders.flatMap((folder) => readdirSync(folder)
  .filter((name) => name.endsWith('.ts'))
  .map((name) => join(folder, name)))
  .filter((file) => !entries.includes(file))

export default () => files
