/** A task that repeats. */
export interface Repetition {
  /** Runs the task at once, then goes on as before. */
  hurry (): void
  stop (): void
}

/**
 * Runs `task`, which must not reject, `intervalMs()` after its last run has ended: runs never overlap, and a new
 * interval counts from the next run on.
 */
export function every (intervalMs: () => number, task: () => Promise<void>): Repetition {
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
    hurry () {
      clearTimeout(timer)
      if (!stopped) run()
    },
    stop () {
      stopped = true
      clearTimeout(timer)
    }
  }
}
