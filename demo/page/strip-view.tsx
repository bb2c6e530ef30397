import { memo } from 'react'
import type { Arrival, Cell, Counts, Strip } from './strip.js'

const MEANINGS: Readonly<Record<Arrival, string>> = {
  live: 'came as it was written',
  replayed: 'came from the journal after a refresh or a reconnect',
  repaired: 'came from the journal late, because Redis did not tell of it'
}
const ARRIVALS = Object.keys(MEANINGS) as Arrival[] // its keys are written above

/** The numbers of the events, in the order and in the way in which they came. */
export function StripView ({ strip: { cells, counts }, isOpen }: { strip: Strip, isOpen: boolean }) {
  if (cells.length === 0) return null
  return (
    <details className='strip' open={isOpen}>
      <summary>
        Events <Legend counts={counts} />
      </summary>
      <div className='cells' aria-hidden='true'>
        {cells.map((cell) => <CellView key={cell.no} {...cell} />)}
      </div>
    </details>
  )
}

const CellView = memo(({ no, arrival }: Cell) => <span className={`cell ${arrival}`}>{no}</span>)

function Legend ({ counts }: { counts: Counts }) {
  return (
    <span className='legend'>
      {ARRIVALS.map((arrival) => (
        <span key={arrival} title={`These ${MEANINGS[arrival]}`}><span className={`cell ${arrival}`}>{counts[arrival]}</span> {arrival}</span>
      ))}
      {(['doubled', 'missing'] as const).map((fault) => (
        <span key={fault} title='Must be 0'><span className={`cell ${counts[fault] === 0 ? 'none' : 'fault'}`}>{counts[fault]}</span> {fault}</span>
      ))}
    </span>
  )
}
