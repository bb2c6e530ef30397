import type { Token } from 'marked'
import { memo, useMemo } from 'react'
import { blocksOf, renderBlock } from './markdown.js'

export function MarkdownView ({ text }: { text: string }) {
  const blocks = useMemo(() => blocksOf(text), [text])
  return <>{blocks.map((block, n) => <Block key={n} block={block} />)}</>
}

/** Stays as it is while those behind it are written. */
const Block = memo(
  ({ block }: { block: Token }) => <div className='block' dangerouslySetInnerHTML={{ __html: renderBlock(block) }} />,
  (before, now) => before.block.raw === now.block.raw
)
