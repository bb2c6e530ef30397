import DOMPurify from 'dompurify'
import { Marked } from 'marked'

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

/** @returns safe HTML, a piece a block: while a text grows, only its last pieces change */
export function renderMarkdown (text: string): string[] {
  return marked.lexer(text)
    .filter(({ type }) => type !== 'space')
    .map((token) => purifier.sanitize(marked.parser([token]), { USE_PROFILES: { html: true }, FORBID_TAGS: ['style', 'form', 'img'], FORBID_ATTR: ['style'] }))
}
