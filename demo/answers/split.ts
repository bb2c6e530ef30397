/** In characters: about as long as the bundled passages. */
const shortestPassage = 400
const longestPassage = 1200

/** Cuts a text into passages: whole paragraphs where they are of a good length, joined or cut in two at a space where not. */
export function splitIntoPassages (text: string): string[] {
  const passages: string[] = []
  let current = ''
  const flush = (): void => {
    if (current !== '') passages.push(current)
    current = ''
  }
  for (const paragraph of text.split(/\r?\n\s*\n/)) {
    for (const piece of cut(paragraph.trim())) {
      if (current.length + piece.length > longestPassage) flush()
      current = current === '' ? piece : `${current}\n\n${piece}`
      if (current.length >= shortestPassage) flush()
    }
  }
  flush()
  return passages
}

function cut (paragraph: string): string[] {
  const pieces: string[] = []
  let rest = paragraph
  while (rest.length > longestPassage) {
    const space = rest.lastIndexOf(' ', longestPassage)
    // Without a space, as in Chinese, anywhere but inside of a character
    const end = space > longestPassage / 2 ? space : longestPassage - (/[\uD800-\uDBFF]/.test(rest.charAt(longestPassage - 1)) ? 1 : 0)
    pieces.push(rest.slice(0, end).trim())
    rest = rest.slice(end).trim()
  }
  return rest === '' ? pieces : [...pieces, rest]
}
