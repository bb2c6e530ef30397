import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** One of the soak's processes. It ends with ours. */
export interface Child<To> {
  /** What is sent to a process that has ended is dropped. */
  send (message: To): void
  /** Resolves with its exit code, or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>
  kill (): Promise<void>
}

/** Resolves when the process says that it is ready; rejects when it ends before. */
export async function startChild<To extends object, From extends { type: string }> (file: string, args: string[], listener: (message: From) => void): Promise<Child<To>> {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), args, { execArgv: ['--import', 'tsx', '--expose-gc'] })
  const exited = once(child, 'exit').then(([code, signal]) => code ?? signal)
  await new Promise<void>((resolve, reject) => {
    child.on('message', (message) => {
      const report = message as From // our own file sends nothing else
      if (report.type === 'ready') resolve()
      listener(report)
    })
    exited.then((how) => { reject(new Error(`${file} ended with ${how}`)) })
  })
  return {
    exited,
    send (message) { if (child.connected) child.send(message, () => {}) },
    async kill () {
      child.kill('SIGKILL')
      await exited
    }
  }
}
