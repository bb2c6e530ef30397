import { mkdir, writeFile } from 'node:fs/promises'
import { Session } from 'node:inspector/promises'
import { dirname } from 'node:path'

/** Profiles this thread from now on. Resolves with the function that stops and writes the profile, which Chromium's tools open. */
export async function startCpuProfile (file: string): Promise<() => Promise<void>> {
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.start')
  return async () => {
    const { profile } = await session.post('Profiler.stop')
    session.disconnect()
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, JSON.stringify(profile))
  }
}
