import { setTimeout as delay } from 'node:timers/promises'
import { monotonicMs } from './clock.js'
import { ascending, percentile } from './statistics.js'

/** Writes event `n` of a message; resolves when the contender says that it is written, and rejects when it is not. */
export type Write = (n: number) => Promise<void>

export interface Appended {
  events: number
  elapsedMs: number
  /** From the call to its answer. */
  p50Ms: number
  p99Ms: number
}

/** Every writer awaits each of its events, from 0 on, until the time is up. */
export async function append (writes: readonly Write[], durationMs: number): Promise<Appended> {
  const tookMs: number[] = []
  const startedAt = performance.now()
  const until = startedAt + durationMs

  async function produce (write: Write): Promise<void> {
    for (let n = 0, at = performance.now(); at < until; n++) {
      await write(n)
      const now = performance.now()
      tookMs.push(now - at)
      at = now
    }
  }

  await Promise.all(writes.map(produce))
  const elapsedMs = performance.now() - startedAt
  const sorted = ascending(tookMs)
  return { events: sorted.length, elapsedMs, p50Ms: percentile(sorted, 0.5), p99Ms: percentile(sorted, 0.99) }
}

/**
 * Events `from` up to, not with, `to`, one every `intervalMs`, each awaited, as a handler does that passes tokens on. Resolves with
 * when each was there to be written, on the machine's clock: an event that has to wait for the one before it is not younger for that.
 */
export async function pace (write: Write, from: number, to: number, intervalMs: number): Promise<number[]> {
  const readyAt: number[] = []
  const startedAt = monotonicMs()
  for (let n = from; n < to; n++) {
    const dueAt = startedAt + (n - from) * intervalMs
    const earlyMs = dueAt - monotonicMs()
    if (earlyMs > 0) await delay(earlyMs)
    readyAt.push(earlyMs > 0 ? monotonicMs() : dueAt)
    await write(n)
  }
  return readyAt
}

export interface Flood {
  events: number
  startedAt: number
}

/** As fast as it goes, with so many events under way at most, in the order of their numbers. */
export async function flood (write: Write, from: number, durationMs: number, inFlight: number): Promise<Flood> {
  const startedAt = monotonicMs()
  const until = performance.now() + durationMs
  let next = from

  async function produce (): Promise<void> {
    while (performance.now() < until) await write(next++)
  }

  await Promise.all(Array.from({ length: inFlight }, produce))
  return { events: next - from, startedAt }
}

/**
 * Events of many writers in turn, `perTick` of them every `intervalMs`, each written when it is due, whatever became of the one before.
 * Resolves with when each was written; event `e` is number `floor(e / writers)` of writer `e % writers`.
 */
export async function paceMany (writes: readonly Write[], events: number, perTick: number, intervalMs: number): Promise<number[]> {
  const sentAt: number[] = []
  const written: Array<Promise<void> | undefined> = []
  const startedAt = monotonicMs()
  for (let event = 0; event < events; event++) {
    const earlyMs = startedAt + Math.floor(event / perTick) * intervalMs - monotonicMs()
    if (earlyMs > 0) await delay(earlyMs)
    sentAt.push(monotonicMs())
    written.push(writes[event % writes.length]?.(Math.floor(event / writes.length)))
  }
  await Promise.all(written)
  return sentAt
}
