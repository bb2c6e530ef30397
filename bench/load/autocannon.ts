/** A process of the benchmark: autocannon on finished messages. */
import autocannon from 'autocannon'
import { serve } from '../harness/serve.js'
import { frameOf, keyOf } from '../harness/workload.js'

export interface Load {
  url: string
  connections: number
  /** Dealt out to the connections: nobody profits from a read that is under way for another one. */
  messageIds: string[]
  rows: number
  /** What comes behind the path. */
  query: string
  durationS: number
}

export interface LoadResult {
  requests: number
  elapsedMs: number
  p50Ms: number
  p99Ms: number
  /** Answers that were no 200, failed connections and timeouts. */
  errors: number
}

/** Comments and `retry:`, which may stand between frames: nearly always at the start alone. */
const OPENING = /^(?:(?::|retry:)[^\n]*\n\n)*/
const ANYWHERE = /^(?::|retry:)[^\n]*\n\n/gm

const methods = {
  /** Rejects when a body is not, byte for byte, that of a message of its kind. */
  async run ({ url, connections, messageIds, rows, query, durationS }: Load): Promise<LoadResult> {
    const bodies = new Set(messageIds.map(keyOf).map((key) => Array.from({ length: rows }, (_, n) => frameOf('plain', key, n, n === rows - 1)).join('')))
    let connection = 0
    const startedAt = performance.now()
    const result = await autocannon({
      url,
      connections,
      duration: durationS,
      setupClient (client) {
        const place = connection++ % connections
        client.setRequests(messageIds
          .filter((_, index) => index % connections === place)
          .map((messageId) => ({ path: `/api/messages/${messageId}/events${query}` })))
      },
      verifyBody (body) {
        const text = String(body)
        return bodies.has(text.replace(OPENING, '')) || bodies.has(text.replaceAll(ANYWHERE, ''))
      }
    })
    if (result.mismatches > 0) throw new Error(`${result.mismatches} bodies were wrong`)
    return {
      requests: result['2xx'],
      elapsedMs: performance.now() - startedAt,
      p50Ms: result.latency.p50,
      p99Ms: result.latency.p99,
      errors: result.errors + result.timeouts + result.non2xx
    }
  }
}

export type AutocannonMethods = typeof methods
serve(methods)
