import { resumeMessage, stopMessage, streamMessage, type EventPayload, type Health } from '../../client/index.js'
import { decide, messageOf } from './requests.js'
import { createChanging, type Readable } from './store.js'
import { addCell, EMPTY_STRIP, type Strip } from './strip.js'
import { createWire } from './wire.js'

/** `waiting`: for the person's approval. */
export type Phase = 'connecting' | 'writing' | 'reconnecting' | 'waiting' | 'complete' | 'stopped' | 'failed'

export interface PendingApproval {
  approvalId: string
  title: string
  /** How long the text was when it was asked for. */
  at: number
  /** `sending`: the person has decided, and the server does not know yet. */
  state: 'open' | 'sending' | 'decided'
  /** What was decided, if it was in this tab. */
  approved?: boolean
}

export interface AnswerSnapshot {
  phase: Phase
  /** Every token so far, as it was recorded. */
  text: string
  sources: readonly string[]
  approval: PendingApproval | null
  strip: Strip
  /** The number of the newest event. */
  cursor: string | null
  reconnects: number
  health: Health
  /** What happened to the connection and the server, newest last. */
  log: readonly string[]
  error: string | null
}

export interface Answer extends Readable<AnswerSnapshot> {
  readonly messageId: string
  /** Asks the question. The same question and id again lead to the same answer. */
  ask (): void
  /** Follows the answer that there is, from its first event on. Resolves when there is nothing more to follow. */
  follow (): Promise<void>
  /** Goes on behind the approval, which was given here or elsewhere. */
  goOn (): void
  decide (approved: boolean): Promise<void>
  stop (): Promise<void>
  cut (): void
  note (line: string): void
  /** Stops following; the server goes on. */
  leave (): void
}

export interface Question {
  messageId: string
  /** Empty: it was asked elsewhere, and only its address is known. */
  prompt: string
  /** In ms. */
  askedAt: number
}

const RENDER_EVERY_MS = 50
const MAX_LOG = 8
const NOT_FOUND = 404
/** A question that is older, and that the server does not know, was lost with the server's database. */
const ASK_AGAIN_MS = 60_000

export interface AnswerOptions {
  /** What an earlier load of this page had: events up to it are a replay. */
  knownCursor: number
  onCursor: (cursor: number) => void
  isRedisAway: () => boolean
}

export function createAnswer ({ messageId, prompt, askedAt }: Question, { knownCursor, onCursor, isRedisAway }: AnswerOptions): Answer {
  const url = `/api/messages/${messageId}`
  const leaving = new AbortController()
  const wire = createWire({ isRedisAway })
  let phase: Phase = 'connecting'
  let text = ''
  let sources: string[] = []
  let approval: PendingApproval | null = null
  let strip = EMPTY_STRIP
  let health: Health = 'connecting'
  let log: string[] = []
  let error: string | null = null
  let lostAt: number | null = null
  let newest = -1
  let working = false
  /** How many connections were meant. */
  let starts = 0

  const { subscribe, getSnapshot, changed } = createChanging<AnswerSnapshot>(() => ({
    phase,
    text,
    sources,
    approval,
    strip: { ...strip, counts: { ...strip.counts, doubled: wire.doubled } },
    cursor: newest < 0 ? null : String(newest),
    reconnects: Math.max(0, wire.connections - starts),
    health,
    log,
    error
  }), RENDER_EVERY_MS)

  function note (line: string): void {
    log = [...log, line].slice(-MAX_LOG)
    changed()
  }

  function take (payload: EventPayload, id: string | null): void {
    if (lostAt !== null) {
      note(`Back after ${((performance.now() - lostAt) / 1_000).toFixed(1)} s, from event ${id ?? newest + 1} on`)
      lostAt = null
    }
    if (id !== null) {
      newest = Number(id)
      const arrival = wire.arrivalOf(newest)
      strip = addCell(strip, { no: newest, arrival: newest <= knownCursor ? 'replayed' : arrival })
      onCursor(newest)
    }
    if (approval?.state !== 'decided' && phase === 'waiting') settleApproval()
    understand(payload)
    changed()
  }

  function understand ({ type, answer, source, approvalId, action, reason, error: message }: EventPayload): void {
    phase = 'writing'
    if (type === 'answer') text += String(answer)
    if (type === 'source') sources = [...sources, String(source)]
    if (type === 'approval') {
      const { title = 'Go on' } = Object(action) as { title?: unknown } // of the server's making
      approval = { approvalId: String(approvalId), title: String(title), at: text.length, state: 'open' }
    }
    if (type === 'end') phase = reason === 'approval' ? 'waiting' : reason === 'stopped' ? 'stopped' : 'complete'
    if (type === 'error') {
      phase = 'failed'
      error = typeof message === 'string' ? message : 'The answer could not be finished.'
    }
  }

  function settleApproval (): void {
    if (approval !== null) approval = { ...approval, state: 'decided' }
  }

  const options = {
    fetch: wire.fetch,
    signal: leaving.signal,
    onEvent: take,
    onHealth (now: Health) {
      if (now !== 'healthy' && health === 'healthy' && phase === 'writing') {
        lostAt = performance.now()
        note(`Connection lost after event ${newest}`)
      }
      health = now
      if (now !== 'healthy' && phase === 'writing') phase = 'reconnecting'
      changed()
    }
  }

  /** One at a time, and its failure is what the answer shows. */
  async function work (run: () => Promise<unknown>): Promise<void> {
    if (working) return
    working = true
    starts++
    error = null
    changed()
    try {
      await run()
      if (strip.counts.replayed + strip.counts.repaired > 0 && phase !== 'waiting') {
        note(`Read to the end: ${newest + 1} events, ${wire.doubled} doubled, ${strip.counts.missing} missing`)
      }
    } catch (reason) {
      if (leaving.signal.aborted) return
      phase = 'failed'
      error = messageOf(reason)
    } finally {
      working = false
      changed()
    }
  }

  const post = (): Promise<unknown> => streamMessage({ ...options, url: '/api/chat', body: { prompt }, messageId, eventsUrl: () => `${url}/events` })
  const resume = (): Promise<unknown> => resumeMessage({ ...options, url: `${url}/events`, lastEventId: newest < 0 ? null : String(newest) })

  return {
    messageId,
    subscribe,
    getSnapshot,
    note,
    ask () { work(newest < 0 && prompt !== '' ? post : resume) },
    async follow () {
      await work(async () => {
        try {
          await resume()
        } catch (reason) {
          // The page was refreshed before the server had the question
          const isUnknown = Object(reason).status === NOT_FOUND && newest < 0
          if (!isUnknown || prompt === '' || Date.now() - askedAt > ASK_AGAIN_MS) throw reason
          starts++
          await post()
        }
      })
    },
    goOn () {
      if (phase !== 'waiting') return
      settleApproval()
      work(resume)
    },
    async decide (approved) {
      if (approval?.state !== 'open') return
      const { approvalId } = approval
      approval = { ...approval, state: 'sending' }
      changed()
      try {
        await decide(messageId, approvalId, approved)
        approval = { ...approval, approved }
        this.goOn()
      } catch (reason) {
        if (approval.state === 'sending') approval = { ...approval, state: 'open' }
        note(`The decision was not taken: ${messageOf(reason)}`)
      }
    },
    async stop () {
      try {
        await stopMessage({ url: `${url}/stop`, signal: leaving.signal })
      } catch (reason) {
        if (!leaving.signal.aborted) note(`It could not be stopped: ${messageOf(reason)}`)
      }
    },
    cut () {
      if (wire.cut()) note('This tab’s connection was cut')
    },
    leave () { leaving.abort() }
  }
}
