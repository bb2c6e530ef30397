import { JournalClientError } from './errors.js'
import type { ConnectionOptions, HeaderFields } from './options.js'
import { createRetryPolicy } from './retry-policy.js'
import { failureOf, isEventStream, lost } from './response.js'
import type { Request, Source } from './source.js'
import { readEvents } from './stream.js'

const UNAUTHENTICATED = 401
/** How many 401s in a row call `onAuthFailure`. */
const MAX_UNAUTHENTICATED = 3
/** The longest wait of a timer; a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1

/**
 * Whether the same request may succeed later: after Request Timeout, Too Early, Too Many Requests, or the server's own
 * errors.
 */
function isRetryable ({ status }: JournalClientError): boolean {
  return status === null || status >= 500 || [UNAUTHENTICATED, 408, 425, 429].includes(status)
}

/** An absolute URL. @throws TypeError */
export function absolute (url: string, base?: string): string {
  return new URL(url, base ?? globalThis.document?.baseURI ?? globalThis.location?.href).href
}

/**
 * Asks again and again, past the cursor, until the source has its result. One connection at a time.
 * @throws JournalClientError for what asking again does not mend, and the signal's reason.
 */
export async function follow<Result extends object> (
  source: Source<Result>, options: ConnectionOptions
): Promise<Result> {
  const {
    signal, headers, onAuthFailure, keepaliveTimeoutMs = 45_000, maxFrameLength = 8_388_608, fetch = globalThis.fetch
  } = options
  signal?.throwIfAborted()
  const policy = createRetryPolicy(options)
  /** Aborts at the end. Everything that is open, waiting or listening belongs to it. */
  const life = new AbortController()
  const over = life.signal
  let fresh: HeaderFields = {}
  let unauthenticated = 0
  let lastByteAt = 0
  let cut = (): void => {}
  let wake = (): void => {}
  let mayWake = false
  /** Whether the next wait is skipped. */
  let wokenEarly = false

  async function ask ({ method, body }: Request, url: string, connection: AbortSignal): Promise<Response> {
    const fields = new Headers(typeof headers === 'function' ? await headers() : headers)
    for (const [name, value] of Object.entries(fresh)) fields.set(name, value)
    fields.set('accept', 'text/event-stream')
    if (body !== undefined) fields.set('content-type', 'application/json')
    if (source.cursor !== null) fields.set('last-event-id', source.cursor)
    return await fetch(url, { method, headers: fields, body: body ?? null, cache: 'no-store', signal: connection })
  }

  /** One connection, from the request to its end. @returns the result, or why to ask again */
  async function connect (): Promise<Result | JournalClientError> {
    const request = source.next()
    const url = absolute(request.url)
    const connection = new AbortController()
    let dead = false
    lastByteAt = Date.now()
    cut = () => {
      clearTimeout(timer)
      connection.abort()
    }
    // By the clock: a timer stands still while the machine sleeps
    const watch = (): void => {
      const leftMs = keepaliveTimeoutMs - (Date.now() - lastByteAt)
      dead = leftMs <= 0
      if (dead) cut()
      else timer = setTimeout(watch, leftMs)
    }
    let timer = setTimeout(watch, keepaliveTimeoutMs)
    try {
      const response = await ask(request, url, connection.signal).catch(lost)
      if (response instanceof JournalClientError) return response
      const failure = isEventStream(response) ? null : await failureOf(response)
      const answer = source.answered?.(response, failure)
      if (typeof answer === 'object') return answer
      if (failure === null) {
        return await readEvents(response, source, policy, over, maxFrameLength, () => { lastByteAt = Date.now() })
      }
      if (answer === undefined && !isRetryable(failure)) throw failure
      return failure
    } finally {
      cut()
      policy.closed(dead ? lastByteAt : Date.now())
    }
  }

  /** After the third 401 in a row, asks `onAuthFailure` for other headers. */
  async function authenticate (failure: JournalClientError): Promise<void> {
    unauthenticated = failure.status === UNAUTHENTICATED ? unauthenticated + 1 : 0
    if (unauthenticated < MAX_UNAUTHENTICATED) return
    const answer = await onAuthFailure?.(failure)
    if (answer === null || answer === undefined) throw failure
    fresh = typeof answer === 'string' ? { authorization: `Bearer ${answer}` } : answer
    unauthenticated = 0
    policy.reset()
  }

  async function sleep (ms: number, wakeable: boolean): Promise<void> {
    await new Promise<void>((resolve) => {
      // The wait between two tries; a timer of more than that would be over at once.
      const timer = setTimeout(resolve, Math.min(ms, MAX_TIMER_MS))
      mayWake = wakeable
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    over.throwIfAborted()
  }

  async function retryLoop (): Promise<Result> {
    policy.setHealth('connecting')
    for (;;) {
      const outcome = await connect()
      over.throwIfAborted()
      if (!(outcome instanceof JournalClientError)) return outcome
      await authenticate(outcome)
      over.throwIfAborted()
      const [told, backoff] = policy.delays(outcome)
      await sleep(told, false) // the server knows why
      await sleep(wokenEarly ? 0 : backoff - told, true)
      wokenEarly = false
    }
  }

  /** The network, or the page, is back. Closes a connection that was silent for too long, and ends a wait. */
  function resumeNow (toleratedMs: number): void {
    if (Date.now() - lastByteAt >= toleratedMs) cut()
    wokenEarly = true
    if (mayWake) wake()
  }

  return await new Promise<Result>((resolve, reject) => {
    over.addEventListener('abort', () => {
      cut()
      wake()
    })
    signal?.addEventListener('abort', () => {
      life.abort()
      reject(signal.reason)
    }, { signal: over })
    globalThis.addEventListener?.('online', () => { resumeNow(0) }, { signal: over })
    globalThis.document?.addEventListener('visibilitychange', () => {
      if (!document.hidden) resumeNow(keepaliveTimeoutMs / 2)
    }, { signal: over })
    retryLoop().catch((error: unknown) => {
      if (!over.aborted) policy.setHealth('unhealthy')
      throw error
    }).then(resolve, reject)
  }).finally(() => { life.abort() })
}
