import { useEffect, useState } from 'react'
import type { Answer } from './answer.js'
import type { RedisWatch } from './redis-watch.js'
import { killServer, messageOf } from './requests.js'
import { useReadable } from './store.js'

export interface BreakBarProps {
  answer: Answer | undefined
  isWriting: boolean
  watch: RedisWatch
  /** To who cannot see it. */
  say: (line: string) => void
}

/** What a visitor can do to the answer that is being written. */
export function BreakBar ({ answer, isWriting, watch, say }: BreakBarProps) {
  const redis = useReadable(watch)
  const [failure, setFailure] = useState('')

  useEffect(() => {
    watch.look()
    window.addEventListener('focus', watch.look)
    return () => { window.removeEventListener('focus', watch.look) }
  }, [watch])

  useEffect(() => isWriting ? watch.watch() : undefined, [watch, isWriting])

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
    const running = await watch.turn(redis?.running === false)
    tell(running ? 'Redis was started' : 'Redis was killed')
  }

  const isDown = redis?.running === false
  return (
    <div className='break' role='group' aria-label='Break it'>
      <span className='title'>Break it {answer === undefined && <span className='hint'>while an answer is being written</span>}</span>
      <button type='button' className='quiet' disabled={!isWriting} onClick={() => answer?.cut()}>Cut the connection</button>
      <button type='button' className='quiet' disabled={!isWriting} onClick={() => { attempt(kill) }}>Kill the server</button>
      {redis?.controllable !== false && <button type='button' className='quiet' disabled={redis === null} onClick={() => { attempt(turnRedis) }}>{isDown ? 'Start Redis' : 'Stop Redis'}</button>}
      {answer !== undefined && <a className='button quiet' href={`#${answer.messageId}`} target='_blank' rel='noreferrer'>Second tab</a>}
      {failure !== '' && <p className='failure' role='alert'>{failure}</p>}
    </div>
  )
}
