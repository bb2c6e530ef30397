import type { Test } from 'tap'
import { createLockManager } from './web-locks.js'

/** What the client looks for in a page. Node has none of it: no `online`, no `visibilitychange`, no `storage`. */
export interface Page {
  online: () => void
  hide: () => void
  show: () => void
  /** Another tab has written to `localStorage`. */
  stored: (key: string) => void
  /** How many listeners the page has. */
  listeners: () => number
}

class CountedTarget extends EventTarget {
  count = 0
  override addEventListener (...[type, listener, options]: Parameters<EventTarget['addEventListener']>): void {
    const signal = typeof options === 'object' ? options.signal : undefined
    if (signal?.aborted === true) return
    this.count++
    signal?.addEventListener('abort', () => { this.count-- })
    super.addEventListener(type, listener, options)
  }
}

/** Makes this process a page, until the end of the test. */
export function becomePage (t: Test, { baseURI = 'http://journal.invalid/page' } = {}): Page {
  const window = new CountedTarget()
  const document = Object.assign(new CountedTarget(), { hidden: false, baseURI })
  define(t, 'document', document)
  define(t, 'addEventListener', window.addEventListener.bind(window))
  const turn = (hidden: boolean): void => {
    document.hidden = hidden
    document.dispatchEvent(new Event('visibilitychange'))
  }
  return {
    online: () => { window.dispatchEvent(new Event('online')) },
    hide: () => { turn(true) },
    show: () => { turn(false) },
    stored: (key) => { window.dispatchEvent(Object.assign(new Event('storage'), { key })) },
    listeners: () => window.count + document.count
  }
}

/** Web Locks are Node's own from 24 on. */
export function haveLocks (t: Test): LockManager {
  const locks = globalThis.navigator?.locks ?? createLockManager()
  define(t, 'navigator', { locks })
  return locks
}

/** A global, until the end of the test. */
export function define (t: Test, name: string, value: unknown): void {
  const before = Object.getOwnPropertyDescriptor(globalThis, name)
  Object.defineProperty(globalThis, name, { configurable: true, writable: true, value })
  t.teardown(() => {
    Reflect.deleteProperty(globalThis, name)
    if (before !== undefined) Object.defineProperty(globalThis, name, before)
  })
}

/** The timers of more than `longMs` that are running, until the end of the test. Those of fetch are of five minutes. */
export function watchTimers (t: Test, longMs: number): Set<unknown> {
  const running = new Set<unknown>()
  const { setTimeout, clearTimeout } = globalThis
  t.intercept(globalThis, 'setTimeout', {
    value: Object.assign((callback: () => void, ms = 0, ...rest: unknown[]) => {
      const timer = setTimeout(callback, ms, ...rest)
      if (ms > longMs) running.add(timer)
      return timer
    }, { __promisify__: setTimeout.__promisify__ })
  })
  t.intercept(globalThis, 'clearTimeout', {
    value: (timer: NodeJS.Timeout) => {
      running.delete(timer)
      clearTimeout(timer)
    }
  })
  return running
}
