import type { Answerer } from './answerer.js'
import type { OpenAIOptions } from './openai.js'
import { createPassageAnswerer } from './passages.js'

export interface AnswererOptions {
  openai?: OpenAIOptions | undefined
  tokensPerSecond: number
}

/** The answerer that the options ask for, and how to call it in the start-up message. */
export async function createAnswerer ({ openai, tokensPerSecond }: AnswererOptions): Promise<{ answer: Answerer, name: string }> {
  if (openai === undefined) {
    return {
      answer: await createPassageAnswerer(tokensPerSecond),
      name: `bundled public-domain passages, ${tokensPerSecond} tokens a second (set OPENAI_BASE_URL for a real model)`
    }
  }
  // Loaded only when asked for: it is the slowest import of the demo.
  const { createOpenAIAnswerer } = await import('./openai.js')
  return {
    answer: createOpenAIAnswerer(openai),
    name: `${openai.model ?? 'the first model'} of ${new URL(openai.baseUrl).origin}`
  }
}
