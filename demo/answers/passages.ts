import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { PlannedAnswerer, Step } from './answerer.js'
import { createRanking } from './bm25.js'

/** A quotation. `source` names author, work, place in it and year, or the user's file. */
export interface Passage {
  source: string
  text: string
}

const files = ['fiction.txt', 'ideas.txt', 'verse.txt']

/** The bundled passages, from books in the public domain. In the files each one starts with a line `# <source>`. */
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

export function sayingOf (text: string): Step[] {
  return tokensOf(text).map((answer) => ({ type: 'answer', answer }))
}

/** Answers with the best passage, be it bundled or the user's own, and its source. */
export async function createPassageAnswerer (name: string): Promise<PlannedAnswerer> {
  const bundled = await loadPassages()
  const findBundled = createPassageFinder(bundled)
  return {
    name,
    plan (prompt, uploaded) {
      const find = uploaded.length === 0 ? findBundled : createPassageFinder([...bundled, ...uploaded])
      const { source, text } = find(prompt)
      return [...sayingOf(text), { type: 'source', source }]
    }
  }
}
