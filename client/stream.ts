import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { JournalClientError } from './errors.js'
import { isAfter } from './ids.js'
import type { RetryPolicy } from './retry-policy.js'
import { lost, parseObject, readText } from './response.js'
import type { Source } from './source.js'

/**
 * Gives the source the new events of one response. Calls `onText` as bytes arrive.
 * @returns the source's result, or why to ask again
 */
export async function readEvents<Result extends object> (
  response: Response, source: Source<Result>, policy: RetryPolicy, over: AbortSignal, maxFrameLength: number,
  onText: () => void
): Promise<Result | JournalClientError> {
  let outcome: Result | JournalClientError | undefined
  let opened = false

  function take ({ id, event, data }: EventSourceMessage): void {
    if (outcome !== undefined || over.aborted) return
    if (id === undefined && event === 'busy') {
      outcome = new JournalClientError('FST_JOURNAL_CLIENT_BUSY', 'The server is busy', 429)
      return
    }
    const place = id !== undefined && isAfter(id, null) ? id : null
    if (place !== null) {
      if (!isAfter(place, source.cursor)) return
      source.cursor = place
      policy.progressed()
    }
    const payload = parseObject(data)
    if (payload !== null) outcome = source.event?.(payload, place, event)
  }

  const parser = createParser({
    maxBufferSize: maxFrameLength,
    onEvent: take,
    onComment (text) {
      if (outcome === undefined && !over.aborted) outcome = source.comment?.(text)
    },
    onRetry: policy.serverRetry,
    onError ({ type, message }) {
      if (type === 'max-buffer-size-exceeded') {
        throw new JournalClientError('FST_JOURNAL_CLIENT_FRAME_TOO_LARGE', message)
      }
    }
  })
  const broken = await readText(response, (text) => {
    onText()
    parser.feed(text)
    if (outcome !== undefined || over.aborted) return false
    if (!opened) {
      opened = true
      source.opened?.()
      policy.opened()
    }
    return true
  })
  return outcome ?? broken ?? source.ended?.() ?? lost()
}
