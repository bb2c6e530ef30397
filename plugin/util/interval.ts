/** A task that repeats. */
export interface Repetition {
  /** Runs the task at once, then goes on as before. */
  runNow (): void
  stop (): void
}

/**
 * Runs `task`, which must not reject, `intervalMs()` after its last run has ended: runs never overlap, and a new
 * interval counts from the next run on.
 */
export function repeat (intervalMs: () => number, task: () => Promise<void>): Repetition {
  let timer: NodeJS.Timeout | undefined
  let running = false
  let stopped = false

  function schedule (): void {
    clearTimeout(timer)
    if (!stopped) timer = setTimeout(run, intervalMs())
  }

  async function run (): Promise<void> {
    if (running) return
    running = true
    await task()
    running = false
    schedule()
  }

  schedule()
  return {
    runNow () {
      clearTimeout(timer)
      if (!stopped) run()
    },
    stop () {
      stopped = true
      clearTimeout(timer)
    }
  }
}

/** Resolves when `done` does, or after `ms`. */
export async function within (ms: number, done: Promise<void>): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms) // a server that does not answer must not keep the app from closing
    done.then(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}
