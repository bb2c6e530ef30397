import { useEffect, type ReactNode } from 'react'
import type { NotificationStore, Task, UserEvent } from '../../client/index.js'
import type { Turn } from './conversation.js'
import { useReadable } from './store.js'
import type { Files } from './use-files.js'

export interface ToastsProps {
  notifications: NotificationStore
  files: Files
  turns: readonly Turn[]
}

/** What goes on beside the answers, in whatever tab it began. */
export function Toasts ({ notifications, files, turns }: ToastsProps) {
  const { tasks, approvals, events } = useReadable(notifications)
  const elsewhere = approvals.filter(({ messageId }) => turns.every((turn) => turn.messageId !== messageId))
  return (
    <section className='toasts' aria-label='Notifications' aria-live='polite'>
      {elsewhere.map(({ approvalId, messageId }) => (
        <Toast key={approvalId} title='An answer waits for your approval' onClose={() => { notifications.dismiss(approvalId) }}>
          <a href={`#${String(messageId)}`}>Show it</a>
        </Toast>
      ))}
      {files.sent.map(({ id, name, uploadId, error }) => (uploadId === null || error !== null) && (
        <Toast key={id} title={name} onClose={() => { files.dismiss(id) }}>
          {error === null ? <p>Sending …</p> : <p className='failure'>{error}</p>}
        </Toast>
      ))}
      {tasks.filter(isNews).map((task) => (
        <Toast key={task.taskId} title={nameOf(task, files, events)} onClose={() => { notifications.dismiss(task.taskId) }}>
          <TaskProgress task={task} onSeen={() => { notifications.dismiss(task.taskId) }} />
        </Toast>
      ))}
    </section>
  )
}

function Toast ({ title, onClose, children }: { title: string, onClose: () => void, children: ReactNode }) {
  return (
    <article className='toast'>
      <p className='title'>{title}</p>
      <button type='button' className='close' aria-label={`Dismiss: ${title}`} onClick={onClose}>×</button>
      {children}
    </article>
  )
}

const SEEN_MS = 10_000
const NEWS_MS = 60 * 60 * 1_000

/** The store keeps what was dismissed yesterday. */
function isNews ({ ts }: Task): boolean {
  return Date.now() - Date.parse(ts) < NEWS_MS
}

function TaskProgress ({ task: { status, progress, result, error }, onSeen }: { task: Task, onSeen: () => void }) {
  useEffect(() => {
    if (status !== 'completed') return
    const timer = setTimeout(onSeen, SEEN_MS)
    return () => { clearTimeout(timer) }
    // Which function it is does not matter
  }, [status])

  if (status === 'failed') return <p className='failure'>{typeof error === 'string' ? error : 'It could not be read.'}</p>
  if (status === 'completed') {
    const { passages = 0 } = Object(result) as { passages?: number } // of the demo's making
    return <p>Read, {passages} {passages === 1 ? 'passage' : 'passages'}. Ask about it.</p>
  }
  const percent = Math.round(Number(progress ?? 0))
  return (
    <p className='progress'>
      <progress max={100} value={percent} aria-label='Reading' /> <span aria-hidden='true'>{percent} %</span>
    </p>
  )
}

/** The notifications say it in their scope, and the last one in its result. */
function nameOf ({ taskId, result }: Task, files: Files, events: readonly UserEvent[]): string {
  const told = events.find(({ payload }) => payload.taskId === taskId)?.scope.name
  const name = files.sent.find(({ uploadId }) => uploadId === taskId)?.name ?? told ?? Object(result).name
  return typeof name === 'string' ? name : 'Your file'
}
