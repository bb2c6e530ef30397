import type { Teardown } from './database.js'

/** Until the end of the test, a timer of exactly `ms` runs out after `instead`: an hour is too long to wait for, and a busy machine may need more than a second. */
export function hurryTimers (t: Teardown, ms: number, instead: number): void {
  const { setTimeout } = globalThis
  const hurried = (callback: () => void, delay?: number) => setTimeout(callback, delay === ms ? instead : delay)
  globalThis.setTimeout = Object.assign(hurried, { __promisify__: setTimeout.__promisify__ })
  t.teardown(async () => { globalThis.setTimeout = setTimeout })
}
