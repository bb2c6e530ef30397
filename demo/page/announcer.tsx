import type { Phase } from './reading.js'

const SAID: Readonly<Record<Phase, string>> = {
  connecting: '',
  writing: 'The answer is being written',
  reconnecting: 'Connection lost, reconnecting',
  waiting: 'The answer waits for your approval',
  complete: 'The answer is complete',
  stopped: 'The answer was stopped',
  failed: 'The answer has failed'
}

/** What a screen reader hears: the turns that things take, never the tokens. */
export function Announcer ({ phase, said }: { phase: Phase | null, said: string }) {
  return (
    <div className='unseen'>
      <p role='status'>{phase === null ? '' : SAID[phase]}</p>
      <p role='status'>{said}</p>
    </div>
  )
}
