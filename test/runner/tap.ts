import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const PRINT_PLUGINS = "import('tap').then(({ t }) => { console.log(t.pluginSignature) })"

/** The program. */
export const TAP = join(dirname(createRequire(import.meta.url).resolve('tap/package.json')), 'dist/esm/run.mjs')

/**
 * Makes tap's class of the plugins that package.json asks for. A run of tap would do so too, but with the loaders of the
 * plugins from before, one of which is a TypeScript compiler: after each `npm ci`, a run took a third longer.
 */
export async function buildTap (root: string): Promise<void> {
  const { tap } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { tap: { plugin: string[] } }
  const { stdout } = await run(process.execPath, ['-e', PRINT_PLUGINS], { cwd: root })
  const built = stdout.trim().split('\n')
  if (tap.plugin.some((name) => name.startsWith('!') && built.includes(name.slice(1)))) await run(process.execPath, [TAP, 'build'], { cwd: root })
}
