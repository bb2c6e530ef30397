import { useSyncExternalStore } from 'react'

/** Something outside React that components read. */
export interface Readable<Value> {
  /** @returns what ends the subscription */
  subscribe (listener: () => void): () => void
  /** The same object until a listener is called. */
  getSnapshot (): Value
}

export interface Changing<Value> extends Readable<Value> {
  /** A new snapshot is taken soon, once for all changes until then. */
  changed (): void
}

/** A snapshot at most every `everyMs`: an answer of 1,000 tokens a second is not 1,000 renderings. */
export function createChanging<Value> (take: () => Value, everyMs: number): Changing<Value> {
  const listeners = new Set<() => void>()
  let snapshot = take()
  let timer: ReturnType<typeof setTimeout> | undefined
  let takenAt = 0

  function publish (): void {
    timer = undefined
    takenAt = performance.now()
    snapshot = take()
    for (const listener of listeners) listener()
  }

  return {
    subscribe (listener) {
      listeners.add(listener)
      return () => { listeners.delete(listener) }
    },
    getSnapshot: () => snapshot,
    // A timer and no animation frame: a tab that is not looked at has none
    changed () { timer ??= setTimeout(publish, Math.max(0, everyMs - (performance.now() - takenAt))) }
  }
}

export function useReadable<Value> ({ subscribe, getSnapshot }: Readable<Value>): Value {
  return useSyncExternalStore(subscribe, getSnapshot)
}
