import { JournalClientError } from './errors.js'

const MAX_ERROR_LENGTH = 65_536

/** Whether the answer is a stream of events to read. */
export function isEventStream ({ ok, headers }: Response): boolean {
  return ok && /^text\/event-stream/i.test(headers.get('content-type') ?? '')
}

/** The error of a request that got no answer, or whose answer broke off. It has no status. */
export function lost (cause?: unknown): JournalClientError {
  return new JournalClientError('FST_JOURNAL_CLIENT_LOST', 'Connection lost', null, null, cause)
}

/**
 * Gives the body's text to `take`, chunk by chunk, until it returns `false`. Throws what `take` throws.
 * @returns `null` at the end of the body; an error when it broke off
 */
export async function readText (
  response: Response, take: (text: string) => boolean
): Promise<JournalClientError | null> {
  const reader = response.body?.getReader()
  const decoder = new TextDecoder()
  for (;;) {
    const chunk = await reader?.read().catch(lost)
    if (chunk instanceof JournalClientError) return chunk
    if (!chunk?.value || !take(decoder.decode(chunk.value, { stream: true }))) return null
  }
}

/** The error that an answer stands for which is no event stream. Never rejects. */
export async function failureOf (response: Response): Promise<JournalClientError> {
  const { status, ok, headers } = response
  let text = ''
  await readText(response, (part) => (text += part).length < MAX_ERROR_LENGTH)
  const { code, message } = parseObject(text) ?? {}
  return new JournalClientError(
    typeof code === 'string' ? code : `FST_JOURNAL_CLIENT_${ok ? 'NOT_A_STREAM' : 'REFUSED'}`,
    typeof message === 'string' ? message : `The server answered ${status}`,
    status,
    retryAfterMs(headers.get('retry-after'))
  )
}

/** Parses `Retry-After`, seconds or a date: RFC 9110, section 10.2.3. */
function retryAfterMs (text: string | null): number | null {
  const ms = Number(text) * 1_000 || Date.parse(String(text)) - Date.now()
  return ms >= 0 ? ms : null
}

/** Parses a JSON object; `null`: it is none. */
export function parseObject (text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    // Every JSON object is a record
    return typeof value === 'object' && !Array.isArray(value) ? value as Record<string, unknown> | null : null
  } catch {
    return null
  }
}
