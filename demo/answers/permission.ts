import { randomUUID } from 'node:crypto'
import type { Action, Step, Passage } from './step.js'
import { sayingOf, workOf } from './passages.js'

/** What a user's wish to do something in the world comes to: a question to the user first. Nothing is ever done, of course. */

const wishes = /\b(order|buy|email|book me|send)\b/i

export function needsPermission (prompt: string): boolean {
  return wishes.test(prompt)
}

/** The answer up to the question whether it may be done, and the end with which the message waits for that. */
export function planPermission (prompt: string, [best]: Passage[]): Step[] {
  const action = actionFor(prompt, best?.source ?? 'something to read')
  return [
    ...sayingOf(`I can do that, but not without you. I would use the tool ${action.tool} for this:`),
    { type: 'approval', approvalId: randomUUID(), action },
    { type: 'end', reason: 'approval' }
  ]
}

/** What is said once the user has decided. */
export function planDecision (approved: boolean, { tool, title }: Action): Step[] {
  return sayingOf(approved
    ? `You allowed it, so it is done: ${title}. (${tool} is a stand-in: nothing has left this machine.)`
    : `You did not allow it, so nothing was done: ${tool} was not called.`)
}

function actionFor (prompt: string, source: string): Action {
  const wish = wishes.exec(prompt)?.[0].toLowerCase()
  const work = workOf(source, '“', '”')
  if (wish === 'email' || wish === 'send') return { tool: 'send_email', title: `Send a passage of ${work} by email` }
  if (wish === 'book me') return { tool: 'book_seat', title: `Book a seat at a reading of ${work}` }
  return { tool: 'order_book', title: `Order ${work}` }
}
