import { spawn } from 'node:child_process'
import { guardProcess } from '../../servers/server-process.js'

/** Programs that run to their end, one after the other. */
export interface Programs {
  /** Rejects when the program fails or is stopped; the message has its last lines. */
  run (command: string, args: string[], cwd: string): Promise<void>
  /** Ends what runs, with its children, and lets nothing else begin. Resolves when it is gone. */
  stop (): Promise<void>
}

const SHOWN_LINES = 30

/**
 * Each program has a process group of its own, so that `stop` ends it with its children, and Ctrl-C reaches it only
 * through `stop`. It does not outlive this process, however this process ends.
 */
export function createPrograms (): Programs {
  let stopped = false
  let kill = () => {}
  let running: Promise<unknown> = Promise.resolve()

  function run (command: string, args: string[], cwd: string): Promise<void> {
    const title = [command, ...args].join(' ')
    return new Promise((resolve, reject) => {
      if (stopped) return reject(new Error(`${title}: stopped`))
      const child = spawn(command, args, { cwd, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
      const { pid } = child
      const callOffGuard = pid === undefined ? () => {} : guardProcess(-pid, 'SIGKILL')
      let output = ''
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', (text: string) => { output += text })
      }
      kill = () => { killGroup(pid) }
      child.once('error', (error) => { reject(new Error(`${title} did not start: ${error.message}`)) })
      child.once('close', (code, signal) => {
        kill = () => {}
        callOffGuard()
        if (code === 0) return resolve()
        const reason = stopped ? 'stopped' : `ended with ${code ?? signal}`
        reject(new Error([`${title}: ${reason}`, ...output.trim().split('\n').slice(-SHOWN_LINES)].join('\n')))
      })
    })
  }

  return {
    async run (command, args, cwd) {
      const ending = run(command, args, cwd)
      running = ending.catch(() => {})
      return await ending
    },
    async stop () {
      stopped = true
      kill()
      await running
    }
  }
}

function killGroup (pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // All of it is gone
  }
}
