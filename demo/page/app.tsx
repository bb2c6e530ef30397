import { useEffect, useState } from 'react'
import type { NotificationStore } from '../../client/index.js'
import { Announcer } from './announcer.js'
import { AnswerView } from './answer-view.js'
import { BreakBar } from './break-bar.js'
import { Composer } from './composer.js'
import type { Conversation } from './conversation.js'
import { Dropzone } from './dropzone.js'
import type { RedisWatch } from './redis-watch.js'
import { useReadable } from './store.js'
import { Toasts } from './toasts.js'
import { Tools } from './tools.js'
import { useFiles } from './use-files.js'
import { useNewestPhase } from './use-newest-phase.js'
import { usePinnedBottom } from './use-pinned-bottom.js'

export interface AppProps {
  conversation: Conversation
  notifications: NotificationStore
  redis: RedisWatch
}

export function App ({ conversation, notifications, redis }: AppProps) {
  const turns = useReadable(conversation)
  const { approvals, events } = useReadable(notifications)
  const newest = turns.at(-1)
  const phase = useNewestPhase(newest?.answer)
  const isWriting = phase === 'connecting' || phase === 'writing' || phase === 'reconnecting'
  const files = useFiles()
  const [said, say] = useState('')
  usePinnedBottom()

  // Decided in another tab, or on another machine: read on
  useEffect(() => {
    for (const { type, payload } of events) {
      if (type !== 'tool.approval.cleared') continue
      for (const { answer } of turns) {
        if (answer.getSnapshot().approval?.approvalId === payload.approvalId) answer.goOn()
      }
    }
  }, [events, turns])

  // The link of an answer, once the answer is there
  useEffect(() => {
    if (location.hash !== '') document.getElementById(location.hash.slice(1))?.scrollIntoView()
  }, [turns.length])

  return (
    <Dropzone onFiles={files.add}>
      <header className='masthead'>
        <div>
          <p className='eyebrow'>fastify-message-journal</p>
          <h1>An answer you cannot break</h1>
          <p>Ask something. While the answer is being written, refresh the page, cut the connection, kill the server or stop Redis: every word comes back once, in order.</p>
        </div>
        {turns.length > 0 && <button type='button' className='quiet' onClick={conversation.clear}>New conversation</button>}
      </header>
      <main>
        <section className='turns' aria-label='Conversation'>
          {turns.map(({ messageId, prompt, answer }) => (
            <AnswerView
              key={messageId} prompt={prompt} answer={answer} isNewest={answer === newest?.answer}
              approval={approvals.find((approval) => approval.messageId === messageId)}
            />
          ))}
        </section>
        <div className='dock'>
          <BreakBar answer={newest?.answer} isWriting={isWriting} watch={redis} say={say} />
          <Composer
            isFirst={turns.length === 0} isWriting={isWriting} onFiles={files.add}
            onAsk={conversation.ask} onStop={() => { newest?.answer.stop() }}
          />
        </div>
        <Tools answer={newest?.answer} notifications={notifications} />
      </main>
      <Toasts notifications={notifications} files={files} turns={turns} />
      <Announcer phase={phase} said={said} />
    </Dropzone>
  )
}
