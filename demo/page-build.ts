import { mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const configFile = join(root, 'demo', 'vite.config.ts')

/** What the page is built from. */
const sources = ['demo/page', 'client', 'demo/vite.config.ts', 'package-lock.json']

/** Where the built page is. */
export const pageFolder = join(root, 'demo', 'dist')

/** Builds the page into `folder` if it is missing there, or older than any of its sources, and says so. */
export async function buildPage (say: (line: string) => void, folder = pageFolder): Promise<void> {
  const builtAt = await changedAt(join(folder, 'index.html'))
  const changes = await Promise.all(sources.map((source) => changedAt(join(root, source))))
  if (builtAt > Math.max(...changes)) return
  const startedAt = performance.now()
  await build(folder)
  say(`Page:     built in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`)
}

/** Next door and then moved into place, so that a page that is served is always a whole one. */
async function build (folder: string): Promise<void> {
  const draft = await mkdtemp(join(dirname(folder), '.dist-'))
  try {
    const vite = await import('vite')
    await vite.build({ configFile, logLevel: 'warn', build: { outDir: draft, emptyOutDir: true } })
    await rm(folder, { recursive: true, force: true })
    await rename(draft, folder).catch(ignoreTaken)
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}

/** Another start has built the page in the same moment, from the same sources. */
/* c8 ignore next 3 -- the other one's rename has to fall between the rm and the rename of this one */
function ignoreTaken (error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
}

/** The newest change of a file, or of any file in a folder, in ms; 0 when it is not there. */
async function changedAt (path: string): Promise<number> {
  const found = await stat(path).catch(() => null)
  if (found === null) return 0
  if (!found.isDirectory()) return found.mtimeMs
  const names = await readdir(path)
  return Math.max(0, ...await Promise.all(names.map((name) => changedAt(join(path, name)))))
}
