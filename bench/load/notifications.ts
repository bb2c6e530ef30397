import { EVENT_TYPE, keyOf, payloadOf } from '../harness/workload.js'
import { WireError } from './body.js'

/**
 * A user's stream: the notifications of number 0, 1, 2 …, each with the payload that it must have and an id above the one before,
 * the same in the payload's envelope and in the frame.
 */
export interface Notifications {
  /** Throws a WireError at the first frame that is not the one that must come next. */
  take (buffer: Buffer, from: number, to: number): void
}

const FRAME_END = '\n\n'

export function createNotifications (userId: string, onFrame: (n: number) => void): Notifications {
  const key = keyOf(userId)
  const start = `data: {"type":"${EVENT_TYPE}","ts":"`
  const user = `"user_id":"${userId}","topic":"user:${userId}"`
  let unfinished = ''
  let next = 0
  let lastMs = 0
  let lastNumber = -1

  function takeFrame (frame: string): void {
    if (frame.startsWith(':') || frame.startsWith('retry:')) return
    const [ms, number] = /\nid: (\d+)-(\d+)$/.exec(frame)?.slice(1).map(Number) ?? []
    if (ms === undefined || number === undefined) throw new WireError(`a frame has no id: ${frame}`)
    const end = `"payload":${JSON.stringify(payloadOf(key, next))},"id":"${ms}-${number}"}\nid: ${ms}-${number}`
    if (!frame.startsWith(start) || !frame.includes(user) || !frame.endsWith(end)) throw new WireError(`in the place of notification ${next} came ${frame}`)
    if (ms < lastMs || (ms === lastMs && number <= lastNumber)) throw new WireError(`after ${lastMs}-${lastNumber} came ${ms}-${number}`)
    lastMs = ms
    lastNumber = number
    onFrame(next++)
  }

  return {
    take (buffer, from, to) {
      const frames = (unfinished + buffer.toString('latin1', from, to)).split(FRAME_END)
      unfinished = frames.pop() ?? ''
      for (const frame of frames) takeFrame(frame)
    }
  }
}
