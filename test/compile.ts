/**
 * A copy of the project in which all TypeScript is compiled: tests, and the processes that they start, load it as plain
 * JavaScript. A loader that compiles takes several times as long as what it loads, in each process anew.
 */
import { cp, mkdir, readdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { build, transform } from 'esbuild'

/** Neither what is not of the project, nor what is made from it; the page is, but takes a while. */
const LEFT_OUT = new Set(['.git', '.tap', '.demo', 'node_modules', 'dist', 'coverage'])
const BUILT_PAGE = join('demo', 'dist')
const SOURCE = /(?<!\.d)\.ts$/
/** Hundreds of modules, where the loader that records coverage takes a millisecond for each, in every process. */
const BUNDLED = '@sinclair/typebox'

/** Each `x.ts` has its `x.js` beside it, with the way back to its lines. `folder` must not exist. */
export async function compileProject (root: string, folder: string): Promise<void> {
  const sources: string[] = []
  await cp(root, folder, {
    recursive: true,
    preserveTimestamps: true,
    filter (from, to) {
      const path = relative(root, from)
      if (LEFT_OUT.has(basename(path)) && path !== BUILT_PAGE) return false
      if (SOURCE.test(path)) sources.push(to)
      return true
    }
  })
  await linkPackages(root, folder)
  await Promise.all(sources.map(compileFile))
}

/** Packages that are linked find each other where they really are, so that what is bundled is so for the project alone. */
async function linkPackages (root: string, folder: string): Promise<void> {
  const scope = dirname(BUNDLED)
  await mkdir(join(folder, 'node_modules', scope), { recursive: true })
  for (const name of await readdir(join(root, 'node_modules'))) {
    if (name !== scope) await symlink(resolve(root, 'node_modules', name), join(folder, 'node_modules', name), 'junction')
  }
  const outdir = join(folder, 'node_modules', BUNDLED)
  await build({
    absWorkingDir: resolve(root),
    entryPoints: { index: BUNDLED, compiler: `${BUNDLED}/compiler` },
    outdir,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node'
  })
  await writeFile(join(outdir, 'package.json'), JSON.stringify({ exports: { '.': './index.mjs', './compiler': './compiler.mjs' } }))
}

/** As old as its source, so that what is made from it is not thought to be older. */
async function compileFile (path: string): Promise<void> {
  const { atime, mtime } = await stat(path)
  const { code } = await transform(await readFile(path, 'utf8'), {
    loader: 'ts',
    format: 'esm',
    target: `node${process.versions.node}`,
    sourcemap: 'inline',
    sourcefile: basename(path),
    tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true } }
  })
  const compiled = path.replace(SOURCE, '.js')
  await writeFile(compiled, code)
  await utimes(compiled, atime, mtime)
}
