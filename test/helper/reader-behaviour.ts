import type { IncomingMessage } from 'node:http'
import type { ReaderPlan } from './program.js'

/** A reader's connections, each of which it treats by its next habit. */
export interface Habits {
  /** How many it has left; the connections after these are kept. */
  readonly left: number
  onOpen (response: IncomingMessage): void
}

/** `received`: how many events the reader has had so far. `leave`: it is gone for good. */
export function createHabits (plan: ReaderPlan, received: () => number, leave: () => void): Habits {
  const habits = [...plan.habits]
  return {
    get left () { return habits.length },
    onOpen (response) {
      const habit = habits.shift()
      if (habit === undefined) return
      const from = received()
      let done = false
      response.on('data', () => {
        if (done || received() - from < habit.afterEvents) return
        done = true
        if (habits.length === 0 && plan.abandons) leave()
        else if (habit.then === 'cut') response.destroy()
        else {
          response.pause()
          setTimeout(() => { response.resume() }, habit.pauseMs)
        }
      })
    }
  }
}
