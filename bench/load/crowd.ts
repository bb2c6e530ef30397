/** A process of the benchmark: viewers, and what has reached them. */
import { setTimeout as delay } from 'node:timers/promises'
import { monotonicMs } from '../harness/clock.js'
import { serve } from '../harness/serve.js'
import { keyOf, type FrameStyle } from '../harness/workload.js'
import { createArrivals } from './arrivals.js'
import { createExpectations, type Expected } from './expected.js'
import { createViewer, type Viewer } from './viewer.js'

export interface CrowdConfig {
  url: string
  style: FrameStyle
  viewers: number
  /** What they read, in turn. */
  messageIds: string[]
  /** Where they begin; -1: at the first frame. */
  cursor: number
}

/** How many connections may wait for their answer at once. */
const OPENING_AT_ONCE = 200

const POLL_MS = 5

/** When the last viewer had each frame. */
const arrivals = createArrivals()
let viewers: Viewer[] = []
/** By number: how many viewers have the frame. */
let have: number[] = []

function arrived (n: number, of: number): void {
  const count = (have[n] ?? 0) + 1
  have[n] = count
  if (count === of) arrivals.set(n, monotonicMs())
}

function openOne ({ url, viewers: of, cursor }: CrowdConfig, messageId: string, expected: Expected): Promise<void> {
  return new Promise((resolve, reject) => {
    viewers.push(createViewer({
      port: Number(new URL(url).port),
      path: `/api/messages/${messageId}/events`,
      cursor,
      expected,
      onHead (status) {
        if (status === 200) resolve()
        else reject(new Error(`a viewer was answered with ${status}`))
      },
      onFrame (n) { arrived(n, of) },
      onEnd (error) {
        const reason = error ?? new Error('a viewer\'s response has ended')
        reject(reason)
        arrivals.fail(reason)
      }
    }))
  })
}

const methods = {
  /** Resolves when every viewer has the head of its response. */
  async open (config: CrowdConfig): Promise<void> {
    methods.close()
    const expectedOf = createExpectations(config.style, Infinity)
    let next = 0
    async function openSome (): Promise<void> {
      while (next < config.viewers) {
        const messageId = config.messageIds[next++ % config.messageIds.length] ?? ''
        await openOne(config, messageId, expectedOf(keyOf(messageId)))
      }
    }
    await Promise.all(Array.from({ length: OPENING_AT_ONCE }, openSome))
  },

  /** Resolves when every viewer has frame `n`: with when the last of them had each frame, on the machine's clock. */
  received: async (n: number): Promise<number[]> => await arrivals.until(n),

  /** Resolves when the viewer has frame `n`. Rejects when any viewer's response is over. */
  async has (viewer: number, n: number): Promise<void> {
    arrivals.check()
    while ((viewers[viewer]?.last ?? NaN) < n) {
      await delay(POLL_MS)
      arrivals.check()
    }
  },

  close (): void {
    for (const viewer of viewers) viewer.close()
    viewers = []
    have = []
    arrivals.clear()
  }
}

export type CrowdMethods = typeof methods
serve(methods)
