import { readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'

export interface Memory {
  rssBytes: number
  /** What JavaScript holds: heap, buffers and other memory that is bound to its objects. */
  heldBytes: number
}

const BETWEEN_COLLECTIONS_MS = 50

/** After garbage collection; twice, since buffers go only after the objects that held them. Needs `--expose-gc`. */
export async function memory (): Promise<Memory> {
  for (let times = 0; times < 2; times++) {
    globalThis.gc?.()
    await delay(BETWEEN_COLLECTIONS_MS)
  }
  const { rss, heapUsed, external } = process.memoryUsage()
  return { rssBytes: rss, heldBytes: heapUsed + external }
}

/** Makes the present size the peak. Only Linux can (https://www.kernel.org/doc/html/latest/filesystems/proc.html, clear_refs). */
export async function resetPeak (): Promise<Memory> {
  const now = await memory()
  if (process.platform === 'linux') writeFileSync('/proc/self/clear_refs', '5')
  return now
}

/** The largest resident size since {@link resetPeak}; elsewhere than on Linux, since the process began. */
export function peakBytes (): number {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS * 1024
  const line = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))
  return Number(line?.[1]) * 1024
}
