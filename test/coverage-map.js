import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/** The servers of `demo/services` run the tests: what they do on machines without this or that is seen there, not here. */
const folders = ['plugin', 'routes', 'client', 'demo', 'demo/answers', 'demo/cluster', 'demo/routes', 'demo/store', 'demo/work']

/** Scripts, each a process of its own. */
const RUN_BY_THEMSELVES = [join('plugin', 'cli.ts'), join('demo', 'start.ts'), join('demo', 'vite.config.ts'), join('demo', 'screenshots.ts'), join('demo', 'cluster', 'worker.ts')]

/** tap measures the same files whatever test runs. */
const files = folders.flatMap((folder) => readdirSync(folder)
  .filter((name) => name.endsWith('.ts'))
  .map((name) => join(folder, name)))
  .filter((file) => !RUN_BY_THEMSELVES.includes(file))

export default () => files
