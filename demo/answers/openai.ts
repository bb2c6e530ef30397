import OpenAI from 'openai'
import { AnswerError, type LiveAnswerer } from './answerer.js'
import type { Passage } from './step.js'

/** Local models have a small context. */
const mostPassages = 5

export interface OpenAIOptions {
  /** With its `/v1`, as in `http://127.0.0.1:11434/v1` for Ollama. */
  baseUrl: string
  /** Default: the first model that the server lists. */
  model?: string | undefined
  /** Default: `unused`, because local servers ask for none. */
  apiKey?: string | undefined
}

/**
 * Answers from any server that speaks OpenAI's chat completions: OpenAI, Ollama, vLLM, LM Studio, llama.cpp.
 *
 * A failure of the server, and an answer that stops without a `finish_reason`, is an `AnswerError`: what readers see
 * says that the model failed, not where it runs. The user's own passages go with the question. When the signal aborts, the request is cut and the answer ends.
 */
export function createOpenAIAnswerer ({ baseUrl, model, apiKey = 'unused' }: OpenAIOptions): LiveAnswerer['answer'] {
  // Its log goes to the console; what it would say there is the cause of our error.
  const client = new OpenAI({ baseURL: baseUrl, apiKey, maxRetries: 1, logLevel: 'off' })
  let knownModel = model

  const findModel = async (signal: AbortSignal): Promise<string> => {
    const { data } = await client.models.list({ signal })
    if (data[0] === undefined) throw new Error(`${baseUrl}/models lists no model: set OPENAI_MODEL`)
    return data[0].id
  }

  return async function * (prompt, signal, uploaded) {
    let finished = false
    try {
      knownModel ??= await findModel(signal)
      const chunks = await client.chat.completions.create(
        { model: knownModel, messages: [...contextOf(uploaded), { role: 'user', content: prompt }], stream: true },
        { signal })
      for await (const { choices: [choice] } of chunks) {
        if (choice?.delta.content) yield choice.delta.content
        if (choice?.finish_reason) finished = true
      }
    } catch (cause) {
      if (!signal.aborted) throw new AnswerError('The model failed before its answer was complete.', { cause })
    }
    // A proxy that cuts the answer between two chunks looks like its end: only the finish reason tells them apart.
    if (!finished && !signal.aborted) throw new AnswerError('The model stopped before its answer was complete.')
  }
}

function contextOf (uploaded: Passage[]): OpenAI.ChatCompletionMessageParam[] {
  const quoted = uploaded.slice(0, mostPassages).map(({ source, text }) => `${source}:\n${text}`)
  return quoted.length === 0 ? [] : [{ role: 'system', content: `The user has uploaded these passages; use what helps:\n\n${quoted.join('\n\n')}` }]
}
