import { createParser } from 'eventsource-parser'
import type { Arrival } from './strip.js'

/** The connections of one answer, watched and breakable. */
export interface Wire {
  /** For the client's option of that name. */
  fetch: typeof globalThis.fetch
  /** Breaks the open connection as a lost network would. @returns whether there was one */
  cut (): boolean
  /** How the event came, by what was seen of its connection. */
  arrivalOf (no: number): Arrival
  /** How many events came that the cursor of their connection, or the connection itself, had already. */
  readonly doubled: number
  /** How many connections were made. */
  readonly connections: number
}

/** A live event comes alone, or with a few that were written in the same moment. Pages of the journal are longer, and follow each other closely. */
const LIVE_GAP_MS = 15
const LIVE_EVENTS = 3
/** An open connection that was silent for so long, and then gives more than so many events at once, was not told of them in time. */
const LATE = { silenceMs: 1_000, events: 5 }
/** While Redis is away, the server looks into the journal every 300 ms. */
const LATE_WITHOUT_REDIS = { silenceMs: 150, events: 1 }

export interface WireOptions {
  /** As far as is known. */
  isRedisAway: () => boolean
  fetch?: typeof globalThis.fetch
  /** In ms. */
  now?: () => number
}

export function createWire ({ isRedisAway, fetch = globalThis.fetch.bind(globalThis), now = () => performance.now() }: WireOptions): Wire {
  const arrivals = new Map<number, Arrival>()
  let open: AbortController | null = null
  let connections = 0
  let doubled = 0

  /** Reads along what one response brings, without touching it. */
  function watch (cursor: number, startsWith: Arrival): TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>> {
    let newest = cursor
    let arrival = startsWith
    let lastAt: number | null = null
    let ids: number[] = []
    const decoder = new TextDecoder()
    const parser = createParser({ onEvent: ({ id }) => { if (id !== undefined) ids.push(Number(id)) } })

    function classify (): void {
      const gapMs = now() - (lastAt ?? Infinity)
      if (lastAt !== null) {
        const late = isRedisAway() ? LATE_WITHOUT_REDIS : LATE
        if (gapMs >= late.silenceMs && ids.length > late.events) arrival = 'repaired'
        else if (gapMs >= LIVE_GAP_MS && ids.length <= LIVE_EVENTS) arrival = 'live'
      }
      lastAt = now()
      for (const id of ids) {
        if (id <= newest) doubled++
        else arrivals.set(newest = id, arrival)
      }
    }

    return new TransformStream({
      transform (chunk, controller) {
        ids = []
        parser.feed(decoder.decode(chunk, { stream: true }))
        if (ids.length > 0) classify()
        controller.enqueue(chunk)
      }
    })
  }

  return {
    async fetch (input, init) {
      const connection = new AbortController()
      open = connection
      connections++
      const signals = [connection.signal, init?.signal].filter((signal) => signal instanceof AbortSignal)
      const response = await fetch(input, { ...init, signal: AbortSignal.any(signals) })
      const isStream = response.ok && response.headers.get('content-type')?.startsWith('text/event-stream')
      if (response.body === null || !isStream) return response
      const cursor = new Headers(init?.headers).get('last-event-id')
      const isNew = init?.method === 'POST' && !response.redirected
      return new Response(response.body.pipeThrough(watch(Number(cursor ?? -1), isNew ? 'live' : 'replayed')), response)
    },
    cut () {
      const connection = open
      open = null
      connection?.abort()
      return connection !== null
    },
    arrivalOf (no) {
      const arrival = arrivals.get(no) ?? 'live'
      arrivals.delete(no)
      return arrival
    },
    get doubled () { return doubled },
    get connections () { return connections }
  }
}
