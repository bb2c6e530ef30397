/** A process of the benchmark: viewers that are cut all at once, and come back with their cursors until they have everything. */
import { setTimeout as delay } from 'node:timers/promises'
import { monotonicMs } from '../harness/clock.js'
import { serve } from '../harness/serve.js'
import { keyOf } from '../harness/workload.js'
import { WireError } from './body.js'
import { createExpectations } from './expected.js'
import { createViewer, type Viewer } from './viewer.js'

export interface StormConfig {
  port: number
  /** A viewer each. */
  messageIds: string[]
  /** The last frame of each message, which the viewers have at first. */
  last: number
  /** What they come back with. */
  cursor: number
  /**
   * `told`: after as long as the server's `retry:` said, or as Chromium does without one. `at once`: as soon as the server
   * listens again, all of them.
   */
  comeBack: 'told' | 'at once'
}

export interface Storm {
  /** When the first viewer noticed that it was cut, and when the last one had everything, on the machine's clock. */
  cutAt: number
  caughtUpAt: number
  /** How many answers had each status. */
  statuses: Record<string, number>
  /** Tries that met nobody who listened. */
  refused: number
}

const OPENING_AT_ONCE = 200
/** Chromium's wait without a `retry:`, in ms. */
const DEFAULT_RETRY_MS = 3_000
const AT_ONCE_RETRY_MS = 20
const POLL_MS = 10

let viewers: Viewer[] = []
let failure: Error | null = null
let braced = false
let caughtUp = 0
let storm: Storm

/** Resolves when the viewer is there for the first time. */
function watch ({ port, messageIds, last, cursor, comeBack }: StormConfig, index: number, expectedOf: ReturnType<typeof createExpectations>): Promise<void> {
  const messageId = messageIds[index] ?? ''
  const expected = expectedOf(keyOf(messageId))
  let toldMs = DEFAULT_RETRY_MS

  return new Promise((resolve, reject) => {
    function open (from: number, isBack: boolean): void {
      let answered = false
      const viewer = createViewer({
        port,
        path: `/api/messages/${messageId}/events`,
        cursor: from,
        expected,
        onHead (status) {
          answered = true
          if (isBack) storm.statuses[status] = (storm.statuses[status] ?? 0) + 1
          else if (status === 200) resolve()
          else reject(new Error(`a viewer was answered with ${status}`))
        },
        onFrame (n) {
          if (n !== last) return
          caughtUp++
          storm.caughtUpAt = monotonicMs()
        },
        onEnd (error) {
          if (error instanceof WireError) failure ??= error
          if (!braced) return reject(error ?? new Error('a viewer\'s response has ended'))
          if (answered) storm.cutAt ||= monotonicMs()
          else storm.refused++
          toldMs = viewer.retryMs ?? toldMs
          // As a browser does: it waits as long as the server has told it.
          setTimeout(open, comeBack === 'told' ? toldMs : AT_ONCE_RETRY_MS, isBack ? viewer.last : cursor, true)
        }
      })
      viewers[index] = viewer
    }
    open(last, false)
  })
}

const methods = {
  /** Resolves when every viewer has the head of its response. */
  async open (config: StormConfig): Promise<void> {
    braced = false
    failure = null
    caughtUp = 0
    storm = { cutAt: 0, caughtUpAt: 0, statuses: {}, refused: 0 }
    const expectedOf = createExpectations('plain', Infinity)
    let next = 0
    async function openSome (): Promise<void> {
      while (next < config.messageIds.length) await watch(config, next++, expectedOf)
    }
    await Promise.all(Array.from({ length: OPENING_AT_ONCE }, openSome))
  },

  /** From now on viewers come back when they are cut. */
  brace (): void { braced = true },

  /** Resolves when every viewer has everything; rejects when that takes longer. */
  async over (timeoutMs: number): Promise<Storm> {
    const until = performance.now() + timeoutMs
    while (caughtUp < viewers.length) {
      if (failure !== null) throw failure
      if (performance.now() > until) throw new Error(`after ${timeoutMs} ms, ${caughtUp} of ${viewers.length} viewers had everything: ${JSON.stringify(storm)}`)
      await delay(POLL_MS)
    }
    return storm
  },

  close (): void {
    braced = false
    for (const viewer of viewers) viewer.close()
    viewers = []
  }
}

export type StormMethods = typeof methods
serve(methods)
