import { readFile } from 'node:fs/promises'

/** Beside its sockets, what a process has open. */
const SPARE = 300

/**
 * Throws when a process of ours may not have so many sockets. Node itself raises its soft limit to the hard one as it
 * starts; the hard one is the shell's or the system's matter.
 */
export async function needSockets (count: number): Promise<void> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => null) // without /proc, it will be seen
  const [, , hard] = /^Max open files +(\w+) +(\w+)/m.exec(limits ?? '') ?? []
  if (Number(hard) < count + SPARE) throw new Error(`${count} sockets a process are needed, and "ulimit -Hn" is ${hard}: raise it`)
}
