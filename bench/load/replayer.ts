/** A process of the benchmark: one viewer that reads a finished message as fast as it comes. */
import { serve } from '../harness/serve.js'
import { keyOf } from '../harness/workload.js'
import { createExpected, type Expected } from './expected.js'
import { createViewer } from './viewer.js'

export interface Replay {
  url: string
  messageId: string
  /** How many the message has. */
  rows: number
  /** False: there is no terminal event, and the response does not end. */
  ends: boolean
}

export interface Replayed {
  /** From the request to the first row, and to the last. */
  firstMs: number
  totalMs: number
}

const ready = new Map<string, Expected>()

const methods = {
  /** Makes the frames that must arrive, so that the time is not spent later. */
  expect ({ messageId, rows, ends }: Replay): void {
    const expected = createExpected('plain', keyOf(messageId), ends ? rows : Infinity)
    expected.endOf(rows - 1)
    ready.set(messageId, expected)
  },

  /** Rejects when a row is missing, or wrong, or follows the last one. */
  replay: async ({ url, messageId, rows, ends }: Replay): Promise<Replayed> => await new Promise((resolve, reject) => {
    const expected = ready.get(messageId)
    if (expected === undefined) return reject(new Error('not expected'))
    let requestedAt = 0
    let firstMs = NaN
    let totalMs = NaN

    function settle (error: Error | null): void {
      viewer.close()
      if (error !== null) reject(error)
      else if (Number.isNaN(totalMs)) reject(new Error(`the response ended after row ${viewer.last} of ${rows}`))
      else resolve({ firstMs, totalMs })
    }

    const viewer = createViewer({
      port: Number(new URL(url).port),
      path: `/api/messages/${messageId}/events`,
      cursor: -1,
      expected,
      onRequest () { requestedAt = performance.now() },
      onHead (status) { if (status !== 200) settle(new Error(`the replay was answered with ${status}`)) },
      onFrame (n) {
        if (n === 0) firstMs = performance.now() - requestedAt
        if (n < rows - 1) return
        totalMs = performance.now() - requestedAt
        if (!ends) settle(null)
      },
      onEnd: settle
    })
  })
}

export type ReplayerMethods = typeof methods
serve(methods)
