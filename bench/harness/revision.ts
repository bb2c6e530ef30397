import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { UsageError } from './usage-error.js'

/** A commit of the project. */
export interface Revision {
  /** Abbreviated. */
  hash: string
  subject: string
}

/** `text`: any commit-ish. Throws a {@link UsageError} when git knows no such commit in `root`. */
export async function findRevision (root: string, text: string): Promise<Revision> {
  const git = async (...args: string[]) => (await promisify(execFile)('git', ['-C', root, ...args])).stdout.trim()
  const commit = await git('rev-parse', '--verify', '--quiet', '--end-of-options', `${text}^{commit}`).catch(() => null)
  if (commit === null) throw new UsageError(`--against: git knows no commit ${text} in ${root}`)
  const [hash = '', subject = ''] = (await git('log', '-1', '--format=%h%n%s', commit)).split('\n')
  return { hash, subject }
}
