import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type { Answerer } from './answerer.js'
import { createRanking } from './bm25.js'

/** A quotation from a book in the public domain. `source` names author, work, place in it and year. */
export interface Passage {
  source: string
  text: string
}

/** Time as the answerer sees it, so that a test can turn it by hand. `wait` rejects when the signal aborts. */
export interface Clock {
  now: () => number
  wait: (ms: number, signal: AbortSignal) => Promise<void>
}

const realClock: Clock = {
  now: () => performance.now(),
  wait: async (ms, signal) => { await delay(ms, undefined, { signal }) }
}

const files = ['fiction.txt', 'ideas.txt', 'verse.txt']

/** The bundled passages. In the files each one starts with a line `# <source>`. */
export async function loadPassages (): Promise<Passage[]> {
  const texts = await Promise.all(files.map((file) => readFile(new URL(`./texts/${file}`, import.meta.url), 'utf8')))
  return texts.flatMap((text) => text.split(/^# /m).slice(1)).map((block) => {
    const endOfSource = block.indexOf('\n')
    return { source: block.slice(0, endOfSource), text: block.slice(endOfSource).trim() }
  })
}

/**
 * Finds the passage that matches a prompt best; the words of its source count as well. Among equals, and for a prompt
 * that matches none, the choice is by lot, but always the same for the same prompt. Throws when there are no passages.
 */
export function createPassageFinder (passages: Passage[]): (prompt: string) => Passage {
  const scoresOf = createRanking(passages.map(({ source, text }) => `${source}\n${text}`))
  return (prompt) => {
    const scores = scoresOf(prompt)
    const lotOf = ({ source }: Passage): string => createHash('sha256').update(prompt).update(source).digest('hex')
    const best = Math.max(...scores)
    return passages
      .filter((_, index) => scores[index] === best)
      .reduce((chosen, passage) => lotOf(passage) > lotOf(chosen) ? passage : chosen)
  }
}

/** Cuts a text as a language model would: words with the space before them, long ones in two or more. Joined, they are the text. */
export function tokensOf (text: string): string[] {
  return text.match(/\s*\S{1,8}|\s+$/gu) ?? []
}

/**
 * Answers with the best passage and its source, `tokensPerSecond` tokens a second by the clock: a slow reader of the
 * tokens makes up for lost time and never makes the pace drift.
 */
export async function createPassageAnswerer (tokensPerSecond: number, clock: Clock = realClock): Promise<Answerer> {
  const find = createPassageFinder(await loadPassages())

  return async function * (prompt, signal) {
    const { source, text } = find(prompt)
    const startedAt = clock.now()
    for (const [index, token] of tokensOf(`${text}\n\n— ${source}`).entries()) {
      const early = startedAt + index * 1000 / tokensPerSecond - clock.now()
      if (early > 0) await clock.wait(early, signal).catch(ignoreAbort(signal))
      if (signal.aborted) return
      yield token
    }
  }
}

const ignoreAbort = (signal: AbortSignal) => (error: unknown): void => {
  if (!signal.aborted) throw error
}
