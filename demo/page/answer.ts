import { resumeMessage, stopMessage, streamMessage, type EventPayload, type Health } from '../../client/index.js'
import { decided, NOTHING_READ, read, reopened, type PendingApproval, type Reading } from './reading.js'
import { decide, messageOf } from './requests.js'
import { createChanging, type Readable } from './store.js'
import { addCell, EMPTY_STRIP, type Strip } from './strip.js'
import { createWire } from './wire.js'

export interface AnswerSnapshot extends Reading {
  strip: Strip
  /** The number of the newest event. */
  cursor: string | null
  reconnects: number
  health: Health
  /** What happened to the connection and the server, newest last. */
  log: readonly string[]
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
  let reading = NOTHING_READ
  let strip = EMPTY_STRIP
  let health: Health = 'connecting'
  let log: string[] = []
  let lostAt: number | null = null
  let newest = -1
  let working = false
  /** The decision came before the connection that waited for it had ended. */
  let mustGoOn = false
  /** How many connections were meant. */
  let starts = 0

  const { subscribe, getSnapshot, changed } = createChanging<AnswerSnapshot>(() => ({
    ...reading,
    strip: { ...strip, counts: { ...strip.counts, doubled: wire.doubled } },
    cursor: newest < 0 ? null : String(newest),
    reconnects: Math.max(0, wire.connections - starts),
    health,
    log
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
    reading = read(reading, payload)
    changed()
  }

  function change (fields: Partial<Reading>): void {
    reading = { ...reading, ...fields }
    changed()
  }

  function changeApproval (fields: Partial<PendingApproval>): void {
    change({ approval: reading.approval && { ...reading.approval, ...fields } })
  }

  const options = {
    fetch: wire.fetch,
    signal: leaving.signal,
    onEvent: take,
    onHealth (now: Health) {
      if (now !== 'healthy' && health === 'healthy' && reading.phase === 'writing') {
        lostAt = performance.now()
        note(`Connection lost after event ${newest}`)
      }
      health = now
      if (now !== 'healthy' && reading.phase === 'writing') change({ phase: 'reconnecting' })
      changed()
    }
  }

  /** One at a time, and its failure is what the answer shows. */
  async function work (run: () => Promise<unknown>): Promise<void> {
    if (working) return
    working = true
    starts++
    change({ error: null })
    try {
      await run()
      if (strip.counts.replayed + strip.counts.repaired > 0 && reading.phase !== 'waiting') {
        note(`Read to the end: ${newest + 1} events, ${wire.doubled} doubled, ${strip.counts.missing} missing`)
      }
    } catch (reason) {
      if (leaving.signal.aborted) return
      change({ phase: 'failed', error: messageOf(reason) })
    } finally {
      working = false
      changed()
      if (mustGoOn) goOn()
    }
  }

  function goOn (): void {
    mustGoOn = working
    if (working || reading.phase !== 'waiting') return
    change({ approval: decided(reading.approval) })
    work(resume)
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
    goOn,
    async decide (approved) {
      if (reading.approval?.state !== 'open') return
      changeApproval({ state: 'sending' })
      try {
        await decide(messageId, reading.approval.approvalId, approved)
        changeApproval({ approved })
        goOn()
      } catch (reason) {
        change({ approval: reopened(reading.approval) })
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
