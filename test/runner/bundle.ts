/**
 * In the tests' copy of the project, packages of many modules are bundled: the loader that records coverage takes a
 * millisecond for each module, in every process.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'esbuild'

const PACKAGE = /^(?:@[^/]+\/)?[^/]+/
/** Of this there is one a process: the loader has it loaded before any test. */
const NOT_BUNDLED = ['@tapjs/processinfo']
const REQUIRE = "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url)"

/**
 * Replaces packages in `folder`, which may be links, by bundles of those in `root`; modules that several of them need are
 * shared. `specifiers` are all that is imported of them: `uuid`, `@sinclair/typebox/compiler`; `place` is where in a package
 * the bundle is.
 */
export async function bundlePackages (root: string, folder: string, specifiers: string[], place = 'bundled'): Promise<void> {
  const entryPoints: Record<string, string> = {}
  const packages: Record<string, Record<string, string>> = {}
  for (const specifier of specifiers) {
    const name = PACKAGE.exec(specifier)?.[0] ?? specifier
    const path = specifier.slice(name.length + 1)
    const entry = `${place}/${path === '' ? 'index' : path}`
    entryPoints[`${name}/${entry}`] = specifier
    packages[name] = { ...packages[name], [path === '' ? '.' : `./${path}`]: `./${entry}.mjs` }
  }
  const outdir = join(folder, 'node_modules')
  for (const [name, exports] of Object.entries(packages)) {
    await rm(join(outdir, name), { recursive: true, force: true })
    await mkdir(join(outdir, name), { recursive: true })
    // What exports names may not be in a folder node_modules, which is where a bundle can have its `place`
    const resolution = Object.keys(exports).length > 1 ? { exports } : { main: exports['.'] }
    await writeFile(join(outdir, name, 'package.json'), JSON.stringify(resolution))
  }
  await build({
    absWorkingDir: root,
    entryPoints,
    outdir,
    outExtension: { '.js': '.mjs' },
    banner: { js: REQUIRE },
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    external: NOT_BUNDLED,
    logLevel: 'error'
  })
}
