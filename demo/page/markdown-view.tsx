import { memo, useMemo } from 'react'
import { renderMarkdown } from './markdown.js'

export function MarkdownView ({ text }: { text: string }) {
  const blocks = useMemo(() => renderMarkdown(text), [text])
  return blocks.map((html, n) => <Block key={n} html={html} />)
}

/** Stays as it is while those behind it are written. The HTML is sanitised. */
const Block = memo(({ html }: { html: string }) => <div dangerouslySetInnerHTML={{ __html: html }} />)
