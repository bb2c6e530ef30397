/**
 * Ranks a few dozen short texts against a query by Okapi BM25 (Robertson and Zaragoza, "The Probabilistic Relevance
 * Framework: BM25 and Beyond", 2009), with that paper's usual parameters.
 */

const k1 = 1.2
const b = 0.75

const stopWords = new Set(('a about all am an and any are as at be been but by can could did do does for from had has have he her him his how i ' +
  'if in into is it its just like make may me might more much must my no not of on one or our please shall she should so some tell than that ' +
  'the their them then there they this to up us was we were what when where which who whom why will with would you your').split(' '))

/** The words that count, lower-cased, without accents, apostrophes, stop words and the commonest English endings. */
export function termsOf (text: string): string[] {
  const words = text.normalize('NFKD').replace(/\p{M}/gu, '').replace(/[’']s\b|[’']/g, '').toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []
  return words.filter((word) => !stopWords.has(word)).map(stem)
}

function stem (word: string): string {
  if (word.length > 4 && word.endsWith('ies')) return `${word.slice(0, -3)}y`
  if (word.length > 3 && word.endsWith('s') && !word.endsWith('ss')) return word.slice(0, -1)
  return word
}

/** Scores every document for a query: 0 where they share no word, else more for a better match. */
export function createRanking<T> (documents: T[], textOf: (document: T) => string): (query: string) => Array<{ document: T, score: number }> {
  const indexed = documents.map((document) => ({ document, ...countTerms(textOf(document)) }))
  const averageLength = indexed.reduce((sum, { length }) => sum + length, 0) / indexed.length
  const documentsWith = new Map<string, number>()
  for (const { counts } of indexed) {
    for (const term of counts.keys()) documentsWith.set(term, (documentsWith.get(term) ?? 0) + 1)
  }

  const weightOf = (term: string): number => {
    const having = documentsWith.get(term) ?? 0
    return Math.log(1 + (indexed.length - having + 0.5) / (having + 0.5))
  }

  return (query) => {
    const terms = [...new Set(termsOf(query))].map((term) => ({ term, weight: weightOf(term) }))
    return indexed.map(({ document, counts, length }) => {
      let score = 0
      for (const { term, weight } of terms) {
        const count = counts.get(term) ?? 0
        score += weight * count * (k1 + 1) / (count + k1 * (1 - b + b * length / averageLength))
      }
      return { document, score }
    })
  }
}

function countTerms (text: string): { counts: Map<string, number>, length: number } {
  const terms = termsOf(text)
  const counts = new Map<string, number>()
  for (const term of terms) counts.set(term, (counts.get(term) ?? 0) + 1)
  return { counts, length: terms.length }
}
