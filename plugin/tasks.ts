import { v7 } from 'uuid'
import { serializePayload } from './payload.js'
import { publicText, type PublicTextContext } from './public-text.js'
import { isEventType } from './text.js'
import type { PublishUserEvent, UserEventOptions } from './user-publisher.js'

export interface TaskOptions extends UserEventOptions {
  userId: string | number | bigint
  /** The notifications' types are this with `.queued`, `.progress`, `.completed` or `.failed`: `source.ingest`, for one. */
  type: string
  /** In every payload, as `taskId`. Default: a new UUID. */
  taskId?: string
}

/** Tells how far a task is; any value that JSON can hold. */
export type ReportProgress = (progress: unknown) => void

/**
 * Runs a task and tells its user how it goes: `<type>.queued` when it is asked for, `<type>.progress` at most once in
 * `progressMs`, the last one always, then `<type>.completed` with what the task returned as `result`, or `<type>.failed` with
 * the text that the option `publicError` makes of its `error`.
 *
 * Returns or throws what the task did, after the last notification: a Redis that does not answer holds it up for 5 s at
 * most, and fails nothing.
 */
export type TrackTask = <T>(options: TaskOptions, work: (progress: ReportProgress) => T | Promise<T>) => Promise<T>

export interface TaskContext extends PublicTextContext {
  publishUserEvent: PublishUserEvent
  progressMs: number
  maxPayloadBytes: number
}

export function createTrackTask (context: TaskContext): TrackTask {
  return async ({ userId, type, scope, taskId = v7() }, work) => {
    async function tell (stage: string, payload: object): Promise<void> {
      const eventType = isEventType(type) ? `${type}.${stage}` : ''
      await context.publishUserEvent(userId, eventType, { taskId, ...payload }, scope === undefined ? {} : { scope })
    }

    const progress = throttle(context.progressMs, (value) => { tell('progress', { progress: value }) })
    tell('queued', {})
    try {
      const result = await work(progress.report)
      progress.flush()
      await tell('completed', completion(result))
      return result
    } catch (error) {
      progress.flush()
      await tell('failed', { error: publicText(context, error, { taskId, userId: String(userId) }) })
      throw error
    }
  }

  /** A result that cannot be sent must not make the task look as if it had never ended. */
  function completion (result: unknown): object {
    const payload = serializePayload({ result }, context.maxPayloadBytes)
    if (!('error' in payload)) return { result }
    context.log.warn('result', { err: payload.error }, 'journal: the result of a task was left out of its notification')
    return {}
  }
}

/** The first value goes through at once, and of those that follow within `ms` the last one. */
function throttle (ms: number, send: (value: unknown) => void): { report: ReportProgress, flush: () => void } {
  let timer: NodeJS.Timeout | undefined
  let held: { value: unknown } | null = null

  function sendHeld (): boolean {
    if (held === null) return false
    send(held.value)
    held = null
    return true
  }

  function tick (): void {
    timer = sendHeld() ? setTimeout(tick, ms) : undefined
  }

  return {
    report (value) {
      held = { value }
      if (timer === undefined) tick()
    },
    flush () {
      clearTimeout(timer)
      sendHeld()
    }
  }
}
