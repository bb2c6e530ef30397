/** When each frame was where it had to be, by its number. */
export interface Arrivals {
  set (n: number, atMs: number): void
  /** Whoever waits is told, and whoever will. */
  fail (error: Error): void
  /** Resolves with all times once frame `n` is there. Rejects when something failed, or nothing has come for 30 s. */
  until (n: number): Promise<number[]>
  /** Resolves with all times once so many frames are there, whichever. Rejects as `until` does. */
  all (count: number): Promise<number[]>
  /** Throws what failed. */
  check (): void
  clear (): void
}

const TIMEOUT_MS = 30_000

export function createArrivals (): Arrivals {
  let atMs: number[] = []
  let failure: Error | null = null
  let awaited: { isThere (): boolean, resolve (): void, reject (error: Error): void } | null = null
  let lastChange = 0
  let count = 0

  async function wait (isThere: () => boolean): Promise<number[]> {
    lastChange = performance.now()
    const timer = setInterval(() => {
      if (performance.now() - lastChange > TIMEOUT_MS) awaited?.reject(new Error(`after ${count} frames, the next did not arrive everywhere`))
    }, 1_000)
    try {
      await new Promise<void>((resolve, reject) => {
        awaited = { isThere, resolve, reject }
        if (failure !== null) reject(failure)
        else if (isThere()) resolve()
      })
    } finally {
      awaited = null
      clearInterval(timer)
    }
    return atMs
  }

  return {
    set (n, at) {
      atMs[n] = at
      count++
      lastChange = performance.now()
      if (awaited?.isThere() === true) awaited.resolve()
    },
    fail (error) {
      failure ??= error
      awaited?.reject(failure)
    },
    until: async (n) => await wait(() => atMs[n] !== undefined),
    all: async (wanted) => await wait(() => count >= wanted),
    check () { if (failure !== null) throw failure },
    clear () {
      atMs = []
      count = 0
      failure = null
      awaited = null
    }
  }
}
