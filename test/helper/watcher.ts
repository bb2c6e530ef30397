/** For tests that wait until something holds. */
export interface Watcher {
  /** Something has changed. */
  look (): void
  /** Resolves once `condition` holds, which is asked now and at each look; rejects when it throws. */
  until (condition: () => boolean): Promise<void>
}

export function createWatcher (): Watcher {
  const waiting = new Set<() => void>()
  return {
    look () { for (const check of waiting) check() },
    async until (condition) {
      await new Promise<void>((resolve, reject) => {
        const check = (): void => {
          try {
            if (!condition()) return
            resolve()
          } catch (error) {
            reject(error)
          }
          waiting.delete(check)
        }
        waiting.add(check)
        check()
      })
    }
  }
}
