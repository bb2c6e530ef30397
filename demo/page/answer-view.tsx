import { useState } from 'react'
import type { Approval } from '../../client/index.js'
import type { Answer, AnswerSnapshot } from './answer.js'
import { ApprovalCard } from './approval-card.js'
import { MarkdownView } from './markdown-view.js'
import { useReadable } from './store.js'
import { StripView } from './strip-view.js'

export interface AnswerViewProps {
  prompt: string
  answer: Answer
  isNewest: boolean
  /** Of the notifications: open wherever it was asked for. */
  approval: Approval | undefined
}

const BUSY = ['connecting', 'writing', 'reconnecting']

export function AnswerView ({ prompt, answer, isNewest, approval }: AnswerViewProps) {
  const snapshot = useReadable(answer)
  const { phase, text, sources, error, log } = snapshot
  const pending = snapshot.approval
  return (
    <article id={answer.messageId} className='turn'>
      <h2 className='prompt'>{prompt || 'An answer by its link'}</h2>
      <div className={`answer ${phase}`} aria-busy={BUSY.includes(phase)}>
        <MarkdownView text={text.slice(0, pending?.at)} />
        {pending !== null && <ApprovalCard pending={pending} isAsked={phase === 'waiting' || approval !== undefined} decide={(approved) => { answer.decide(approved) }} />}
        {pending !== null && <MarkdownView text={text.slice(pending.at)} />}
      </div>
      {sources.length > 0 && <p className='sources'>{sources.join(' · ')}</p>}
      {error !== null && <p className='failure'>{error} <button type='button' className='quiet' onClick={answer.ask}>Try again</button></p>}
      <footer className='foot'>
        <span className={`phase ${phase}`}>{describe(snapshot)}</span>
        {text !== '' && <CopyButton text={text} />}
      </footer>
      <StripView strip={snapshot.strip} isOpen={isNewest} />
      {isNewest && log.length > 0 && <ol className='log' aria-label='What happened'>{log.map((line, n) => <li key={`${n} ${line}`}>{line}</li>)}</ol>}
    </article>
  )
}

function describe ({ phase, reconnects }: AnswerSnapshot): string {
  const times = reconnects === 0 ? '' : ` · ${reconnects} ${reconnects === 1 ? 'reconnect' : 'reconnects'}`
  switch (phase) {
    case 'connecting': return 'Asking …'
    case 'writing': return `Writing …${times}`
    case 'reconnecting': return 'Connection lost, reconnecting …'
    case 'waiting': return 'Waits for your approval'
    case 'complete': return `Complete${times}`
    case 'stopped': return `Stopped${times}`
    case 'failed': return 'Failed'
  }
}

const COPIED_MS = 2_000

function CopyButton ({ text }: { text: string }) {
  const [copied, setCopied] = useState(false)
  // Missing on plain http
  if (!('clipboard' in navigator)) return null
  const copy = (): void => {
    navigator.clipboard.writeText(text).then(() => {
      setCopied(true)
      setTimeout(setCopied, COPIED_MS, false)
    }, () => {})
  }
  return <button type='button' className='quiet small' onClick={copy} aria-live='polite'>{copied ? 'Copied' : 'Copy'}</button>
}
