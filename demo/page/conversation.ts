import { createMessageId } from '../../client/index.js'
import { createAnswer, type Answer, type Question } from './answer.js'
import { createChanging, type Readable } from './store.js'

export interface Turn extends Question {
  answer: Answer
}

/** The questions of this browser and their answers, the same in all its tabs. */
export interface Conversation extends Readable<readonly Turn[]> {
  ask (prompt: string): void
  clear (): void
}

const QUESTIONS = 'journal-demo questions'
const CURSOR = 'journal-demo cursor '
const MAX_TURNS = 10
/** A browser opens six connections to a server, for all its tabs together. */
const FOLLOWED_AT_ONCE = 2
const SAVE_CURSOR_EVERY_MS = 250
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/**
 * What is kept is what was asked, and under which id. The answers are in the server's journal: a refresh, and a second
 * tab, read them from there.
 */
export function createConversation (isRedisAway: () => boolean): Conversation {
  let turns: readonly Turn[] = []
  const waiting: Answer[] = []
  let followed = 0
  const { subscribe, getSnapshot, changed } = createChanging(() => turns, 0)

  function add (question: Question): Turn {
    const { messageId } = question
    const answer = createAnswer(question, { knownCursor: cursorOf(messageId), onCursor: saver(messageId), isRedisAway })
    const turn = { ...question, answer }
    turns = [...turns, turn]
    for (const old of turns.slice(0, -MAX_TURNS)) forget(old)
    turns = turns.slice(-MAX_TURNS)
    changed()
    return turn
  }

  function forget ({ answer, messageId }: Turn): void {
    answer.leave()
    sessionStorage.removeItem(CURSOR + messageId)
  }

  /** The newest ones first. */
  function followWaiting (): void {
    while (followed < FOLLOWED_AT_ONCE) {
      const next = waiting.pop()
      if (next === undefined) return
      followed++
      next.follow().finally(() => {
        followed--
        followWaiting()
      })
    }
  }

  function follow (questions: readonly Question[]): void {
    for (const question of questions) {
      if (turns.every(({ messageId }) => messageId !== question.messageId)) waiting.push(add(question).answer)
    }
    followWaiting()
  }

  function removeAll (): void {
    waiting.length = 0
    for (const turn of turns) forget(turn)
    turns = []
    changed()
  }

  function linked (): Question[] {
    const messageId = location.hash.slice(1)
    return UUID.test(messageId) ? [{ messageId, prompt: '', askedAt: 0 }] : []
  }

  window.addEventListener('storage', ({ key }) => {
    if (key !== QUESTIONS) return
    const kept = load()
    if (kept.length === 0) removeAll()
    else follow(kept)
  })
  window.addEventListener('hashchange', () => { follow(linked()) })
  follow(load())
  follow(linked())

  return {
    subscribe,
    getSnapshot,
    ask (prompt) {
      const question = { messageId: createMessageId(), prompt, askedAt: Date.now() }
      const { answer } = add(question)
      save(turns)
      history.replaceState(null, '', `#${question.messageId}`)
      answer.ask()
    },
    clear () {
      removeAll()
      save([])
      history.replaceState(null, '', location.pathname)
    }
  }
}

function load (): Question[] {
  try {
    const kept = JSON.parse(localStorage.getItem(QUESTIONS) ?? '[]') as Question[] // only `save` writes there
    return kept.filter(({ messageId, prompt }) => UUID.test(messageId) && typeof prompt === 'string').slice(-MAX_TURNS)
  } catch {
    return []
  }
}

function save (turns: readonly Question[]): void {
  localStorage.setItem(QUESTIONS, JSON.stringify(turns.filter(({ prompt }) => prompt !== '').map(({ messageId, prompt, askedAt }) => ({ messageId, prompt, askedAt }))))
}

function cursorOf (messageId: string): number {
  return Number(sessionStorage.getItem(CURSOR + messageId) ?? -1)
}

/** Of this tab: what it had, a refresh gets again. */
function saver (messageId: string): (cursor: number) => void {
  let newest = cursorOf(messageId)
  let timer: ReturnType<typeof setTimeout> | undefined
  function write (): void {
    timer = undefined
    sessionStorage.setItem(CURSOR + messageId, String(newest))
  }
  window.addEventListener('pagehide', () => { if (timer !== undefined) write() })
  return (cursor) => {
    if (cursor <= newest) return
    newest = cursor
    timer ??= setTimeout(write, SAVE_CURSOR_EVERY_MS)
  }
}
