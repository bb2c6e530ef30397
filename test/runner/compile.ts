/**
 * A copy of the project in which all TypeScript is compiled: tests, and the processes that they start, load it as plain
 * JavaScript. A loader that compiles takes several times as long as what it loads, in each process anew.
 */
import { cp, mkdir, readdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { basename, join, relative, resolve } from 'node:path'
import { transform } from 'esbuild'
import { bundlePackages } from './bundle.js'

/** Neither what is not of the project, nor what is made from it; the page is, but takes a while. */
const LEFT_OUT = new Set(['.git', '.tap', '.demo', 'node_modules', 'dist', 'coverage'])
const BUILT_PAGE = join('demo', 'dist')
const SOURCE = /(?<!\.d)\.ts$/
/** What tap leaves out of the stacks that it shows. */
const FRAMES_OF_TAP = 'node_modules/@tapjs'
const BUNDLED = ['@sinclair/typebox', '@sinclair/typebox/compiler', '@fastify/type-provider-typebox', 'postgrator', 'uuid']

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
  await bundlePackages(root, folder, BUNDLED)
  await bundlePackages(root, folder, ['tap'], FRAMES_OF_TAP)
  await Promise.all(sources.map(compileFile))
}

/** Packages that are linked find each other where they really are, so that what is bundled is so for the project alone. */
async function linkPackages (root: string, folder: string, scope = ''): Promise<void> {
  await mkdir(join(folder, 'node_modules', scope), { recursive: true })
  for (const name of await readdir(join(root, 'node_modules', scope))) {
    const path = join('node_modules', scope, name)
    if (name.startsWith('@')) await linkPackages(root, folder, name)
    else await symlink(resolve(root, path), join(folder, path), 'junction')
  }
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
