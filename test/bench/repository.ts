import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Teardown } from '../helper/database.js'

export interface Repository {
  /** Its folder. */
  root: string
  git (...args: string[]): Promise<string>
  /** Writes these files over the last commit's, by their paths. Resolves with the abbreviated hash. */
  commit (subject: string, files: Record<string, string>): Promise<string>
}

const AUTHOR = ['-c', 'user.name=Nobody', '-c', 'user.email=nobody@example.org', '-c', 'commit.gpgsign=false']

/** A build like that of the project, without a compiler. */
export const BUILD = `
import { mkdir, writeFile } from 'node:fs/promises'
await mkdir('dist', { recursive: true })
for (const name of ['plugin.js', 'command.js']) await writeFile('dist/' + name, 'export default 1')
`

export const PACKAGE = JSON.stringify({
  name: 'project',
  version: '1.0.0',
  type: 'module',
  main: './dist/plugin.js',
  bin: { project: 'dist/command.js' },
  scripts: { build: 'node build.js' }
})

/** The least that `npm ci` takes. */
export function lockOf (name: string): string {
  const version = '1.0.0'
  return JSON.stringify({ name, version, lockfileVersion: 3, requires: true, packages: { '': { name, version } } })
}

/** A project with packages and a first commit, which builds. */
export async function createRepository (t: Teardown): Promise<Repository> {
  const root = await realpath(await mkdtemp(join(tmpdir(), 'repository-')))
  t.teardown(async () => { await rm(root, { recursive: true, force: true }) })
  async function git (...args: string[]): Promise<string> {
    return (await promisify(execFile)('git', [...AUTHOR, ...args], { cwd: root })).stdout
  }

  async function commit (subject: string, files: Record<string, string>): Promise<string> {
    for (const [path, text] of Object.entries(files)) await writeFile(join(root, path), text)
    await git('add', '--all')
    await git('commit', '--quiet', '--message', subject)
    return (await git('log', '-1', '--format=%h')).trim()
  }

  await git('init', '--quiet')
  await mkdir(join(root, 'node_modules'))
  await commit('First', {
    '.gitignore': 'node_modules/\ndist/\n',
    'package.json': PACKAGE,
    'package-lock.json': lockOf('project'),
    'build.js': BUILD
  })
  return { root, git, commit }
}
