import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { chromium, type Browser } from 'playwright-core'

const names = ['chromium', 'chromium-browser', 'google-chrome']

/** `--no-sandbox`: as root, as in most CI containers, Chromium starts in no other way. The rest keeps it from talking to anybody. */
const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']

/** `null`: there is none on the PATH. */
export function findChromium (): string | null {
  const paths = (process.env.PATH ?? '').split(delimiter).flatMap((folder) => names.map((name) => join(folder, name)))
  return paths.find(isExecutable) ?? null
}

/** Headless. Rejects when there is none on the PATH. */
export async function launchChromium (): Promise<Browser> {
  const executablePath = findChromium()
  if (executablePath === null) throw new Error('no chromium on the PATH')
  return await chromium.launch({ executablePath, args })
}

function isExecutable (path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
