import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/** `servers` runs the tests, with two files of `demo`: what they do on machines without this or that is seen there, not here. */
const folders = [
  'plugin', 'plugin/wire', 'plugin/util', 'plugin/postgres', 'plugin/redis', 'plugin/write', 'plugin/read', 'plugin/messages', 'plugin/notifications', 'plugin/ops',
  'routes', 'client', 'demo', 'demo/answers', 'demo/cluster', 'demo/routes', 'demo/store', 'demo/work'
]

const LEFT_OUT = ['chromium', 'redis-control'].map((name) => join('demo', `${name}.ts`))

/** Scripts, each a process of its own. */
const RUN_BY_THEMSELVES = [
  join('plugin', 'ops', 'cli.ts'), join('demo', 'start.ts'), join('demo', 'vite.config.ts'), join('demo', 'screenshots.ts'),
  join('demo', 'cluster', 'worker.ts')
]

/** tap measures the same files whatever test runs. */
const files = folders.flatMap((folder) => readdirSync(folder)
  .filter((name) => name.endsWith('.ts'))
  .map((name) => join(folder, name)))
  .filter((file) => ![...LEFT_OUT, ...RUN_BY_THEMSELVES].includes(file))

export default () => files
