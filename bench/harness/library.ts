import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** This library at one revision, as `npm run build` made it. */
export interface Library {
  /** `ours`: the working tree. Otherwise the abbreviated hash of the revision. */
  name: string
  /** The URL of the module. */
  plugin: string
  /** The file of the command, which migrates. */
  command: string
}

/** The working tree. */
export const OURS = 'ours'

/** Reads from package.json what to load: files move between revisions. Rejects when it is not built. */
export async function findLibrary (root: string, name = OURS): Promise<Library> {
  const text = await readFile(join(root, 'package.json'), 'utf8')
  const { main = '', bin = {} } = JSON.parse(text) as { main?: string, bin?: Record<string, string> } // as npm has it
  const [command = ''] = Object.values(bin)
  return { name, plugin: pathToFileURL(await builtFile(root, main)).href, command: await builtFile(root, command) }
}

async function builtFile (root: string, name: string): Promise<string> {
  const file = join(root, name)
  if (!(await stat(file)).isFile()) throw new Error(`${join(root, 'package.json')} names no module or no command`)
  return file
}
