import { useEffect, useState } from 'react'
import type { Answer } from './answer.js'
import { killServer, messageOf, readDemo, switchRedis, type DemoState } from './requests.js'

export interface BreakBarProps {
  answer: Answer | undefined
  isWriting: boolean
  /** To who cannot see it. */
  say: (line: string) => void
}

/** What a visitor can do to the answer that is being written. */
export function BreakBar ({ answer, isWriting, say }: BreakBarProps) {
  const [redis, setRedis] = useState<DemoState['redis'] | null>(null)
  const [failure, setFailure] = useState('')

  useEffect(() => {
    const look = (): void => { readDemo().then(({ redis }) => { setRedis(redis) }, () => {}) }
    look()
    window.addEventListener('focus', look)
    return () => { window.removeEventListener('focus', look) }
  }, [])

  function tell (line: string): void {
    answer?.note(line)
    say(line)
  }

  async function attempt (work: () => Promise<void>): Promise<void> {
    setFailure('')
    await work().catch((error: unknown) => { setFailure(messageOf(error)) })
  }

  async function kill (): Promise<void> {
    const { pid } = await killServer(answer?.messageId)
    tell(`The server process ${pid} was killed`)
  }

  async function turnRedis (): Promise<void> {
    const { running } = await switchRedis(redis?.running === false)
    setRedis((redis) => redis && { ...redis, running })
    tell(running ? 'Redis was started' : 'Redis was killed')
  }

  const isDown = redis?.running === false
  return (
    <div className='break' role='group' aria-label='Break it'>
      <span className='title' aria-hidden='true'>Break it</span>
      <button type='button' className='quiet' disabled={!isWriting} onClick={() => answer?.cut()}>Cut the connection</button>
      <button type='button' className='quiet' disabled={!isWriting} onClick={() => { attempt(kill) }}>Kill the server</button>
      {redis?.controllable !== false && <button type='button' className='quiet' disabled={redis === null} onClick={() => { attempt(turnRedis) }}>{isDown ? 'Start Redis' : 'Stop Redis'}</button>}
      {answer !== undefined && <a className='button quiet' href={`#${answer.messageId}`} target='_blank' rel='noreferrer'>Second tab</a>}
      {failure !== '' && <p className='failure' role='alert'>{failure}</p>}
    </div>
  )
}
