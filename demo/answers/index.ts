import type { Answerer } from './answerer.js'
import type { OpenAIOptions } from './openai.js'
import { createPassageAnswerer } from './passages.js'

export interface AnswererOptions {
  openai?: OpenAIOptions | undefined
  tokensPerSecond: number
}

/** What the options ask for, as the start-up message and the page call it. */
export function nameAnswerer ({ openai, tokensPerSecond }: AnswererOptions): string {
  return openai === undefined
    ? `bundled public-domain passages, ${tokensPerSecond} tokens a second (set OPENAI_BASE_URL for a real model)`
    : `${openai.model ?? 'the first model'} of ${new URL(openai.baseUrl).origin}`
}

/** The answerer that the options ask for. */
export async function createAnswerer (options: AnswererOptions): Promise<Answerer> {
  const name = nameAnswerer(options)
  if (options.openai === undefined) return createPassageAnswerer(name)
  // Loaded only when asked for: it is the slowest import of the demo.
  const { createOpenAIAnswerer } = await import('./openai.js')
  return { name, answer: createOpenAIAnswerer(options.openai) }
}
