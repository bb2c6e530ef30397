import type { FastifyInstance } from 'fastify'
import type { Message } from '../../plugin/index.js'
import { AnswerError, type Answerer } from '../answers/answerer.js'
import type { Action, Step, Passage } from '../answers/step.js'
import { pace } from '../answers/pace.js'
import { createPassageFinder, loadPassages } from '../answers/passages.js'
import { needsPermission, planDecision, planPermission } from '../answers/permission.js'
import type { AnswerStore, OpenAnswer } from '../store/answers.js'

export interface AnsweringOptions {
  answerer: Answerer
  store: AnswerStore
  findUploaded: (userId: string, prompt: string) => Promise<Passage[]>
  tokensPerSecond: number
}

/**
 * Producing answers, and going on with those of a worker that is gone: whatever it had recorded stands, and the rest is
 * said by this one, so that a reader cannot tell. A live model's answer cannot be gone on with: it ends with a durable error.
 */
export interface Answering {
  /** What produces the answer to the prompt, for `reply.streamMessage`. Rejects when the answer cannot be kept in the database. */
  begin (message: Message, prompt: string): Promise<(message: Message) => Promise<void>>
  /** Says what the user's decision comes to, under the same message; `false`: it was decided before. Resolves once the message is open. */
  decide (approval: { messageId: string, userId: string, approvalId: string, approved: boolean, action: Action }): Promise<boolean>
  /** Goes on with what these workers have left. Resolves once all of that is open. */
  adopt (producers: string[]): Promise<void>
}

export async function createAnswering (app: FastifyInstance, { answerer, store, findUploaded, tokensPerSecond }: AnsweringOptions): Promise<Answering> {
  const findBundled = createPassageFinder(await loadPassages())

  async function record (message: Message, step: Step): Promise<void> {
    const committed = await message.record(step.type, step)
    // An answer with a hole in it is worse than one that says it failed.
    if (!committed && !message.signal.aborted) throw new Error('An event of the answer could not be recorded')
  }

  /** Says what is left, up to the next end; whether there is more behind that. */
  async function say (message: Message, { messageId, userId }: OpenAnswer, plan: Step[]): Promise<boolean> {
    let next = message.lastSequenceNo + 1
    for await (const step of pace(plan.slice(next), tokensPerSecond, message.signal)) {
      if (step.type === 'end') {
        await message.end({ reason: step.reason })
        return next + 1 < plan.length && !message.signal.aborted
      }
      // The user is asked before that is recorded: a worker that dies in between asks again, and never not at all
      if (step.type === 'approval') await app.journal.requestApproval({ userId, messageId, approvalId: step.approvalId, action: step.action })
      await record(message, step)
      next++
    }
    if (!message.signal.aborted) await message.end({ reason: 'complete' })
    return false
  }

  async function sayLive (message: Message, tokens: AsyncIterable<string>): Promise<void> {
    for await (const token of tokens) await record(message, { type: 'answer', answer: token })
    if (!message.signal.aborted) await message.end({ reason: 'complete' })
  }

  /** Never rejects. A message that has another producer, or was stopped, or whose server shuts down, is not this one's to finish. */
  async function produce (answer: OpenAnswer, message: Message, work: () => Promise<void>): Promise<void> {
    try {
      await work().catch(async (error: unknown) => {
        if (message.signal.aborted) return
        app.log.error({ messageId: message.messageId, err: error }, 'demo: an answer failed')
        await message.fail(error)
      })
      if (!message.signal.aborted) await store.finish(answer)
    } catch (error) {
      app.log.error({ messageId: message.messageId, err: error }, 'demo: an answer is still kept as unfinished')
    }
  }

  async function carryOn (answer: OpenAnswer): Promise<void> {
    const { messageId, userId, plan } = answer
    const message = await app.journal.openMessage({ messageId, userId })
    produce(answer, message, async () => {
      if (plan === null) throw new AnswerError('The server stopped in the middle of this answer, and a model cannot go on in mid-sentence. Please ask again.')
      // The user may have decided before the end that waits for it was recorded
      if (await say(message, answer, plan)) await carryOn(answer)
    })
  }

  return {
    async begin ({ messageId, userId }, prompt) {
      const owner = String(userId) // the session's
      const uploaded = await findUploaded(owner, prompt)
      const plan = needsPermission(prompt)
        ? planPermission(prompt, findBundled(prompt))
        : 'plan' in answerer ? answerer.plan(prompt, uploaded) : null
      const answer = { messageId, userId: owner, plan }
      await store.begin({ ...answer, prompt })
      return (message) => produce(answer, message, async () => {
        if (plan !== null) await say(message, answer, plan)
        else if ('answer' in answerer) await sayLive(message, answerer.answer(prompt, message.signal, uploaded))
      })
    },

    async decide ({ messageId, userId, approvalId, approved, action }) {
      const answer = await store.decide({ messageId, approvalId, approved, steps: planDecision(approved, action) })
      if (answer === null) return false
      await carryOn(answer)
      await app.journal.clearApproval({ userId, messageId, approvalId })
      return true
    },

    async adopt (producers) {
      const answers = await store.adopt(producers)
      await Promise.all(answers.map(carryOn))
    }
  }
}
