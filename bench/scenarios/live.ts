import type { Bench } from '../harness/bench.js'
import { checkRows } from '../harness/checks.js'
import type { Remote } from '../harness/remote.js'
import type { RemoteRuntime } from '../harness/runtime.js'
import { ascending, percentile } from '../harness/statistics.js'
import { messageIdOf, type FrameStyle } from '../harness/workload.js'
import type { CrowdMethods } from '../load/crowd.js'

/** What the scenarios with open viewers share. */

export interface LiveApp {
  app: RemoteRuntime
  url: string
  style: FrameStyle
  /** Its events must be in the table afterwards. */
  durable: boolean
}

export const LIVE_FILES = {
  ours: { file: 'ours/app.ts', style: 'plain', durable: true },
  bare: { file: 'limits/bare-http.ts', style: 'plain', durable: false },
  peer: { file: 'peers/handwritten.ts', style: 'plain', durable: true },
  resumableStream: { file: 'peers/resumable-stream.ts', style: 'plain', durable: false },
  betterSse: { file: 'peers/better-sse.ts', style: 'better-sse', durable: false }
} as const

export async function startLive (bench: Bench, which: keyof typeof LIVE_FILES): Promise<LiveApp> {
  const { file, ...rest } = LIVE_FILES[which]
  return { ...await bench.startRuntime(file), ...rest }
}

let messages = 0

/** Opens a new message and its viewers, lets `produce` write, and checks the table; `produce` resolves with its result and the number of events. */
export async function withViewers<Result> (bench: Bench, { app, url, style, durable }: LiveApp, crowd: Remote<CrowdMethods>, viewers: number, produce: (messageId: string) => Promise<{ result: Result, events: number }>): Promise<Result> {
  await bench.clear()
  const messageId = messageIdOf(messages++)
  await app.call('open', messageId)
  await crowd.call('open', { url, style, viewers, messageIds: [messageId], cursor: -1 })
  const { result, events } = await produce(messageId)
  await crowd.call('close')
  if (durable) await checkRows(bench, events)
  return result
}

/** How long each event took to its last viewer, in ms, without those of the warm-up, in ascending order. */
export function latencies (sentAt: readonly number[], arrivedAt: readonly number[], warmUpEvents: number): number[] {
  return ascending(sentAt.map((at, n) => (arrivedAt[n] ?? NaN) - at).slice(warmUpEvents))
}

export function latencySample (latencies: readonly number[]): { p50Ms: number, p99Ms: number } {
  return { p50Ms: percentile(latencies, 0.5), p99Ms: percentile(latencies, 0.99) }
}
