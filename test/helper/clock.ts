import type { Teardown } from './database.js'

/**
 * Until the end of the test, or until the function that is returned is called, a timer of exactly `ms` runs out after
 * `instead`: an hour is too long to wait for, and a busy machine may need more than a second.
 */
export function hurryTimers (t: Teardown, ms: number, instead: number): () => void {
  const { setTimeout } = globalThis
  const hurried = (callback: () => void, delay?: number) => setTimeout(callback, delay === ms ? instead : delay)
  globalThis.setTimeout = Object.assign(hurried, { __promisify__: setTimeout.__promisify__ })
  const calm = () => { globalThis.setTimeout = setTimeout }
  t.teardown(async () => calm())
  return calm
}

/** Until the end of the test, a timer of exactly `ms` does not run out by itself: the function that is returned lets those that run at the moment do so. */
export function holdTimers (t: Teardown, ms: number): () => void {
  const { setTimeout, clearTimeout } = globalThis
  const held = new Map<unknown, () => void>()
  const hold = (callback: () => void, delay?: number) => {
    if (delay !== ms) return setTimeout(callback, delay)
    const timer = setTimeout(() => {}, 0)
    held.set(timer, callback)
    return timer
  }
  globalThis.setTimeout = Object.assign(hold, { __promisify__: setTimeout.__promisify__ })
  globalThis.clearTimeout = (timer) => {
    held.delete(timer)
    clearTimeout(timer)
  }
  t.teardown(async () => { Object.assign(globalThis, { setTimeout, clearTimeout }) })
  return () => {
    const due = [...held.values()]
    held.clear()
    for (const callback of due) callback()
  }
}
