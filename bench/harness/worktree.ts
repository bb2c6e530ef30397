import { execFile, spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findLibrary, type Library } from './library.js'
import { createPrograms, type Programs } from './programs.js'
import type { Revision } from './revision.js'
import { UsageError } from './usage-error.js'

const REMOVE = ['worktree', 'remove', '--force', '--force'] // twice, for one that git still has locked

/** A hook of the user's may install packages, or refuse. */
const WITHOUT_HOOKS = ['-c', 'core.hooksPath=/dev/null']

/** Waits for the end of its stdin: this process has ended without having removed the worktree. */
const GUARD_SCRIPT = `
trap '' HUP INT TERM
read -r word && exit 0
git -C "$1" ${REMOVE.join(' ')} "$2"
rm -rf -- "$3"
`

/**
 * Builds a revision in a worktree in the folder for temporary files. Calls `defer` before there is a worktree, with
 * what ends the build and removes the worktree. When this process is killed, the worktree is removed, too. Rejects with
 * a {@link UsageError} when the revision cannot be built.
 */
export async function buildRevision (
  root: string,
  revision: Revision,
  defer: (close: () => Promise<void>) => void
): Promise<Library> {
  const folder = await mkdtemp(join(tmpdir(), 'journal-against-'))
  const tree = join(folder, revision.hash)
  const programs = createPrograms()
  const callOffGuard = guardWorktree(root, tree, folder)
  defer(async () => {
    await programs.stop()
    await promisify(execFile)('git', ['-C', root, ...REMOVE, tree]).catch(() => {}) // it may not be there yet
    await rm(folder, { recursive: true, force: true })
    callOffGuard()
  })
  try {
    await programs.run('git', [...WITHOUT_HOOKS, 'worktree', 'add', '--detach', tree, revision.hash], root)
    await installPackages(root, tree, programs)
    await programs.run('npm', ['run', 'build'], tree)
    return await findLibrary(tree, revision.hash)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new UsageError(`--against: ${revision.hash} (${revision.subject}) cannot be built: ${reason}`)
  }
}

/** Those of the working tree, where the lock file is the same. */
async function installPackages (root: string, tree: string, programs: Programs): Promise<void> {
  const [ours, theirs] = await Promise.all([root, tree].map(readLock))
  if (theirs === ours) await symlink(join(root, 'node_modules'), join(tree, 'node_modules'), 'dir')
  else await programs.run('npm', ['ci', '--include=dev', '--ignore-scripts', '--no-audit', '--no-fund'], tree)
}

async function readLock (folder: string): Promise<string> {
  return await readFile(join(folder, 'package-lock.json'), 'utf8')
}

/** Answers with what calls the guard off. */
function guardWorktree (root: string, tree: string, folder: string): () => void {
  const guard = spawn('/bin/sh', ['-c', GUARD_SCRIPT, 'guard', root, tree, folder], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore']
  })
  guard.unref()
  guard.on('error', () => {})
  guard.stdin.on('error', () => {})
  return () => { guard.stdin.end('done\n') }
}
