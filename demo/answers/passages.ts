import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { PlannedAnswerer } from './answerer.js'
import type { Passage, Step } from './step.js'
import { createRanking } from './bm25.js'

const files = ['fiction.txt', 'ideas.txt', 'verse.txt']

/** The bundled passages, from books in the public domain. In the files each one starts with a line `# <source>`. */
export async function loadPassages (): Promise<Passage[]> {
  const texts = await Promise.all(files.map((file) => readFile(new URL(`./texts/${file}`, import.meta.url), 'utf8')))
  return texts.flatMap((text) => text.split(/^# /m).slice(1)).map((block) => {
    const endOfSource = block.indexOf('\n')
    return { source: block.slice(0, endOfSource), text: block.slice(endOfSource).trim() }
  })
}

/** At most so many passages are found, and none that matches less than so well, the best one being 1. */
const mostFound = 3
const leastMatch = 0.3

/**
 * Finds the passages that match a prompt best, one at least, the best one first; the words of their sources count as
 * well. Among equals, and for a prompt that matches none, the choice is by lot, but always the same for the same prompt.
 */
export function createPassageFinder (passages: Passage[]): (prompt: string) => Passage[] {
  const scoresOf = createRanking(passages, ({ source, text }) => `${source}\n${text}`)
  return (prompt) => {
    const lotOf = ({ source }: Passage): string => createHash('sha256').update(prompt).update(source).digest('hex')
    const ranked = scoresOf(prompt)
      .map(({ document, score }) => ({ document, score, lot: lotOf(document) }))
      .sort((a, b) => b.score - a.score || (a.lot < b.lot ? 1 : -1))
    const least = leastMatch * Math.max(...ranked.map(({ score }) => score))
    return ranked.slice(0, mostFound).filter(({ score }, index) => index === 0 || (score > 0 && score >= least)).map(({ document }) => document)
  }
}

/** `**Moby-Dick** by Herman Melville` of `Herman Melville, Moby-Dick, chapter 36 (1851)`, with the marks that are asked for; a file is its name. */
export function workOf (source: string, before = '', after = before): string {
  const [author = source, work] = source.replace(/ \((\d{4}|passage \d+)\)$/, '').split(', ')
  return work === undefined ? `${before}${author}${after}` : `${before}${work}${after} by ${author}`
}

/** Cuts a text as a language model would: words with the space before them, long ones in two or more. Joined, they are the text. */
export function tokensOf (text: string): string[] {
  return text.match(/\s*\S{1,8}|\s+$/gu) ?? []
}

export function sayingOf (text: string): Step[] {
  return tokensOf(text).map((answer) => ({ type: 'answer', answer }))
}

/** Answers with the best passages, be they bundled or the user's own, each with its source behind it. */
export async function createPassageAnswerer (name: string): Promise<PlannedAnswerer> {
  const bundled = await loadPassages()
  const findBundled = createPassageFinder(bundled)
  return {
    name,
    plan (prompt, uploaded) {
      const find = uploaded.length === 0 ? findBundled : createPassageFinder([...bundled, ...uploaded])
      return find(prompt).flatMap(({ source, text }, index): Step[] => [
        ...sayingOf(`${index === 0 ? '' : '\n\n'}From ${workOf(source, '**')}:\n\n${text}`),
        { type: 'source', source }
      ])
    }
  }
}
