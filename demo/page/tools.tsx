import { useEffect, useState, type ReactNode } from 'react'
import type { NotificationStore } from '../../client/index.js'
import type { Answer } from './answer.js'
import { messageOf, readDemo, readStats, type DemoState, type Stats } from './requests.js'
import { useReadable } from './store.js'

const POLL_MS = 1_000

interface State {
  stats: Stats
  demo: DemoState
}

/** Under the hood. The server is asked only while it is open. */
export function Tools ({ answer, notifications }: { answer: Answer | undefined, notifications: NotificationStore }) {
  const [isOpen, setIsOpen] = useState(false)
  return (
    <details className='tools' onToggle={({ currentTarget }) => { setIsOpen(currentTarget.open) }}>
      <summary>Under the hood</summary>
      {isOpen && (
        <div className='panels'>
          {answer !== undefined && <AnswerTools answer={answer} />}
          <NotificationTools notifications={notifications} />
          <ServerTools />
        </div>
      )}
    </details>
  )
}

function AnswerTools ({ answer }: { answer: Answer }) {
  const { health, cursor, reconnects, phase } = useReadable(answer)
  return (
    <Panel title='This answer'>
      <Fact name='connection'>{phase === 'writing' || phase === 'reconnecting' ? health : 'closed'}</Fact>
      <Fact name='cursor'>{cursor ?? 'none'}</Fact>
      <Fact name='reconnects'>{reconnects}</Fact>
      <Fact name='message'><code>{answer.messageId}</code></Fact>
    </Panel>
  )
}

function NotificationTools ({ notifications }: { notifications: NotificationStore }) {
  const { health, cursor, events } = useReadable(notifications)
  return (
    <Panel title='Notifications'>
      <Fact name='connection'>{health}</Fact>
      <Fact name='cursor'>{cursor ?? 'none'}</Fact>
      <Fact name='received'>{events.length}</Fact>
    </Panel>
  )
}

function ServerTools () {
  const [state, setState] = useState<State | null>(null)
  const [failure, setFailure] = useState('')

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    let isOver = false
    async function poll (): Promise<void> {
      try {
        const [stats, demo] = await Promise.all([readStats(), readDemo()])
        setState({ stats, demo })
        setFailure('')
      } catch (error) {
        setFailure(messageOf(error))
      }
      if (!isOver) timer = setTimeout(poll, POLL_MS)
    }
    poll()
    return () => {
      isOver = true
      clearTimeout(timer)
    }
  }, [])

  if (failure !== '') return <Panel title='Server'><Fact name='state'>{failure}</Fact></Panel>
  if (state === null) return null
  const { stats, demo } = state
  return (
    <>
      <Panel title='Server'>
        <Fact name='answered by'>process {stats.pid}, worker {stats.worker}</Fact>
        <Fact name='up'>{Math.round(stats.uptimeS)} s</Fact>
        <Fact name='workers'>{demo.workers.map(({ pid, worker }) => `${worker}: ${pid}`).join(', ')}</Fact>
        <Fact name='Redis'>{demo.redis.kind}, {demo.redis.running ? 'running' : 'stopped'}</Fact>
        <Fact name='answers'>{demo.answers}</Fact>
      </Panel>
      <Panel title='Its counters'>
        {flatten(stats.journal).map(([name, value]) => <Fact key={name} name={name}>{value}</Fact>)}
      </Panel>
    </>
  )
}

function Panel ({ title, children }: { title: string, children: ReactNode }) {
  return (
    <section>
      <h3>{title}</h3>
      <dl>{children}</dl>
    </section>
  )
}

function Fact ({ name, children }: { name: string, children: ReactNode }) {
  return <div><dt>{name}</dt><dd>{children}</dd></div>
}

function flatten (counters: Record<string, unknown>, prefix = ''): Array<[name: string, value: string]> {
  return Object.entries(counters).flatMap(([name, value]) => typeof value === 'object' && value !== null
    ? flatten(value as Record<string, unknown>, `${prefix}${name} `) // JSON
    : [[prefix + name, String(value)] satisfies [string, string]])
}
