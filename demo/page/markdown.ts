import DOMPurify from 'dompurify'
import { Marked, type Token } from 'marked'

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

function escape (text: string): string {
  return text.replace(/[&<>"']/g, (character) => ESCAPES[character] ?? character)
}

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    // HTML in an answer is what somebody wrote, not what this page is made of
    html: ({ text }) => escape(text),
    // Nothing is loaded because an answer says so
    image: ({ text, href }) => escape(text || href)
  }
})

const purifier = DOMPurify(window)
purifier.addHook('afterSanitizeAttributes', (element) => {
  if (element.tagName !== 'A') return
  element.setAttribute('target', '_blank')
  element.setAttribute('rel', 'noopener noreferrer nofollow')
})

/** Paragraphs, lists and the like: while a text grows, only the last of them change. */
export function blocksOf (text: string): Token[] {
  return marked.lexer(text).filter(({ type }) => type !== 'space')
}

/** @returns HTML that is safe to show */
export function renderBlock (block: Token): string {
  return purifier.sanitize(marked.parser([block]), { USE_PROFILES: { html: true }, FORBID_TAGS: ['style', 'form', 'img'], FORBID_ATTR: ['style'] })
}
