import { useRef, useState, type FormEvent, type KeyboardEvent } from 'react'

export interface ComposerProps {
  isFirst: boolean
  isWriting: boolean
  onAsk: (prompt: string) => void
  onStop: () => void
  onFiles: (files: Iterable<File>) => void
}

const SUGGESTIONS = ['Tell me of the white whale', 'What is natural selection?', 'Order me a copy of Moby-Dick']
const MAX_PROMPT = 8_000

export function Composer ({ isFirst, isWriting, onAsk, onStop, onFiles }: ComposerProps) {
  const [prompt, setPrompt] = useState('')
  const field = useRef<HTMLTextAreaElement>(null)
  const picker = useRef<HTMLInputElement>(null)

  function ask (text: string): void {
    if (text.trim() === '' || isWriting) return
    onAsk(text.trim())
    setPrompt('')
    field.current?.focus({ preventScroll: true })
  }

  function onKeyDown (event: KeyboardEvent): void {
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return
    event.preventDefault()
    ask(prompt)
  }

  return (
    <form className='composer' onSubmit={(event: FormEvent) => { event.preventDefault(); ask(prompt) }}>
      {!isWriting && (
        <ul className={isFirst ? 'chips first' : 'chips'} aria-label='Suggested questions'>
          {SUGGESTIONS.map((text) => <li key={text}><button type='button' className='chip' onClick={() => { ask(text) }}>{text}</button></li>)}
        </ul>
      )}
      <label htmlFor='prompt' className='unseen'>Your question</label>
      <div className='row'>
        <button type='button' className='quiet' aria-label='Add a text file' title='Add a text file: later answers may come from it' onClick={() => picker.current?.click()}>+ File</button>
        <input
          ref={picker} type='file' hidden multiple accept='.txt,.md,.markdown,text/plain,text/markdown' aria-label='Text files'
          onChange={({ target }) => {
            onFiles([...target.files ?? []])
            target.value = ''
          }}
        />
        <textarea
          ref={field} id='prompt' rows={1} maxLength={MAX_PROMPT} value={prompt} placeholder='Ask something'
          onChange={({ target }) => { setPrompt(target.value) }} onKeyDown={onKeyDown}
        />
        {isWriting
          ? <button type='button' onClick={onStop}>Stop</button>
          : <button type='submit'>Ask</button>}
      </div>
    </form>
  )
}
