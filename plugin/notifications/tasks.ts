import { v7 } from 'uuid'
import { serializePayload } from '../wire/payload.js'
import { publicText, type PublicTextContext } from '../public-error.js'
import { isEventType } from '../wire/text.js'
import type { PublishUserEvent, UserEventOptions } from './notification-publisher.js'

/** What `trackTask` tells of the task. */
export interface TaskOptions extends UserEventOptions {
  userId: string | number | bigint
  /**
   * The notifications' types begin with it: `source.ingest` makes `source.ingest.queued`, `.progress`, `.completed` and
   * `.failed`.
   */
  type: string
  /** In every payload, as `taskId`. Default: a new UUID. */
  taskId?: string
}

/** Tells how far a task is; any value that JSON can hold. */
export type ReportProgress = (progress: unknown) => void

/**
 * Runs a task and tells its user how it goes: `<type>.queued` at once, `<type>.progress` at most once in `progressMs`,
 * the last one always, then `<type>.completed` with the task's `result`, or `<type>.failed` with the text that the
 * option `publicError` makes of its `error`.
 *
 * Returns or throws what the task did, after the last notification. A Redis that does not answer delays it by at most 5
 * s, and fails nothing.
 */
export type TrackTask = <T>(options: TaskOptions, work: (progress: ReportProgress) => T | Promise<T>) => Promise<T>

/** What tasks need of their process. */
export interface TaskContext extends PublicTextContext {
  publishUserEvent: PublishUserEvent
  progressMs: number
  maxPayloadBytes: number
}

/** Publishes a task's states by `publishUserEvent`. */
export function createTrackTask (context: TaskContext): TrackTask {
  return async ({ userId, type, scope, taskId = v7() }, work) => {
    async function tell (stage: string, payload: object): Promise<void> {
      const eventType = isEventType(type) ? `${type}.${stage}` : ''
      await context.publishUserEvent(userId, eventType, { taskId, ...payload }, scope === undefined ? {} : { scope })
    }

    /** Leaves a result out that cannot be sent, so that the task still ends for its readers. */
    async function tellEnd (stage: string, payload: object): Promise<void> {
      const problem = serializePayload({ taskId, ...payload }, context.maxPayloadBytes)
      if ('error' in problem) {
        context.log.warn('taskEnd', {
          userId, type, taskId, err: problem.error
        }, 'journal: the outcome of a task was left out of its notification')
      }
      await tell(stage, 'error' in problem ? {} : payload)
    }

    const progress = throttle(context.progressMs, (value) => { tell('progress', { progress: value }) })
    tell('queued', {})
    try {
      const result = await work(progress.report)
      progress.end()
      await tellEnd('completed', { result })
      return result
    } catch (error) {
      progress.end()
      await tellEnd('failed', { error: publicText(context, error, { taskId, userId: nameOf(userId) }) })
      throw error
    }
  }
}

/** Callers may have no types. The task's own error must not be lost. */
function nameOf (userId: unknown): string {
  try {
    return String(userId)
  } catch {
    return ''
  }
}

/** Passes the first value at once, and of those that follow within `ms` the last one. Passes none after the end. */
function throttle (ms: number, send: (value: unknown) => void): { report: ReportProgress, end: () => void } {
  let timer: NodeJS.Timeout | undefined
  let held: { value: unknown } | null = null
  let over = false

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
      if (over) return
      held = { value }
      if (timer === undefined) tick()
    },
    end () {
      over = true
      clearTimeout(timer)
      sendHeld()
    }
  }
}
