/** When each frame was where it had to be, by its number. */
export interface Arrivals {
  set (n: number, atMs: number): void
  /** Whoever waits is told, and whoever will. */
  fail (error: Error): void
  /** Resolves with all times once frame `n` is there. Rejects when something failed, or nothing has come for 30 s. */
  until (n: number): Promise<number[]>
  /** Throws what failed. */
  check (): void
  clear (): void
}

const TIMEOUT_MS = 30_000

export function createArrivals (): Arrivals {
  let atMs: number[] = []
  let failure: Error | null = null
  let awaited: { n: number, resolve (): void, reject (error: Error): void } | null = null
  let lastChange = 0

  return {
    set (n, at) {
      atMs[n] = at
      lastChange = performance.now()
      if (awaited !== null && n >= awaited.n) awaited.resolve()
    },
    fail (error) {
      failure ??= error
      awaited?.reject(failure)
    },
    async until (n) {
      lastChange = performance.now()
      const timer = setInterval(() => {
        if (performance.now() - lastChange > TIMEOUT_MS) awaited?.reject(new Error(`frame ${atMs.length} did not arrive everywhere`))
      }, 1_000)
      try {
        await new Promise<void>((resolve, reject) => {
          awaited = { n, resolve, reject }
          if (failure !== null) reject(failure)
          else if (atMs[n] !== undefined) resolve()
        })
      } finally {
        awaited = null
        clearInterval(timer)
      }
      return atMs
    },
    check () { if (failure !== null) throw failure },
    clear () {
      atMs = []
      failure = null
      awaited = null
    }
  }
}
