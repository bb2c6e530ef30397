import { BEGINNING, connectEvents, type EventsOptions, type PipeEnd, type UserEvent } from './events.js'
import { isAfter } from './ids.js'
import type { Health } from './options.js'

/** Options of `shareEvents`. */
export interface SharedEventsOptions<Event extends object = UserEvent> extends EventsOptions<Event> {
  /** Tabs with the same name share a connection. Put the user's id in it. */
  name: string
  /** How long a visible tab waits for the leader before it takes over, in ms. Default 5,000. */
  leaderTimeoutMs?: number | undefined
}

/** A message from the leader to the others. */
interface Update<Event> {
  /** The leader's cursor before `entry`. */
  after: string | null
  entry: [event: Event, id: string | null] | undefined
  health: Health | undefined
}

/** `asking`: asks for a leader. `oldest`: the backlog past `after` was truncated. */
type ChannelMessage<Event> = Update<Event> | { asking: true } | { oldest: string | null, after: string | null }

/** The prefix of names that are shared within the origin. */
export const PREFIX = 'fastify-message-journal '

/** The reason to take the lock: this tab has missed something, or nobody leads. */
const MY_TURN = {}

/**
 * `connectEvents` with one connection for all tabs of the browser. The tab that holds the Web Lock is connected, and
 * tells the others over a BroadcastChannel. When it closes, another goes on from its own cursor. A tab that has missed
 * something takes the lock, and reads from its own cursor. Where a browser lacks either API, and on plain http, each
 * tab is connected.
 */
export async function shareEvents<Event extends object = UserEvent> (
  options: SharedEventsOptions<Event>
): Promise<PipeEnd> {
  const { name, leaderTimeoutMs = 5_000, signal, onEvent, onHealth, onTruncated } = options
  const locks = globalThis.navigator?.locks
  if (locks === undefined || globalThis.BroadcastChannel === undefined) return await connectEvents(options)
  signal?.throwIfAborted()

  const lock = PREFIX + name
  let cursor = options.cursor ?? null
  let health: Health | undefined
  let leading = false
  /** Of one wait for the lock, and of the leadership that follows. */
  let term = new AbortController()
  let timer: ReturnType<typeof setTimeout> | undefined
  const life = new AbortController()
  const channel = new BroadcastChannel(lock)

  function post (word: ChannelMessage<Event>): void {
    channel.postMessage(word)
  }

  function postUpdate (entry?: Update<Event>['entry']): void {
    post({ after: cursor, entry, health })
  }

  function deliver (event: Event, id: string | null): void {
    if (id !== null) {
      if (!isAfter(id, cursor)) return
      cursor = id
    }
    onEvent(event, id)
  }

  function setHealth (now: Health | undefined): void {
    if (now === undefined || now === health) return
    health = now
    onHealth?.(now)
  }

  function truncate (oldest: string | null): void {
    cursor = BEGINNING
    onTruncated?.(oldest)
  }

  function receive (word: ChannelMessage<Event>): void {
    if ('asking' in word) {
      if (leading) postUpdate()
    } else if (!leading) {
      clearTimeout(timer)
      if ('oldest' in word) {
        // A tab that is ahead of the leader may have missed nothing
        if (word.oldest === null || isAfter(word.oldest, cursor) || !isAfter(cursor, word.after)) truncate(word.oldest)
        return
      }
      if (cursor !== null && (word.after === null || isAfter(word.after, cursor))) return term.abort(MY_TURN)
      cursor ??= word.after
      if (word.entry !== undefined) deliver(...word.entry)
      setHealth(word.health)
    }
  }

  async function lead (): Promise<PipeEnd> {
    leading = true
    clearTimeout(timer)
    try {
      return await connectEvents<Event>({
        ...options,
        cursor,
        signal: term.signal,
        onEvent (event, id) {
          postUpdate([event, id])
          deliver(event, id)
        },
        onHealth (now) {
          setHealth(now)
          postUpdate()
        },
        onTruncated (oldest) {
          post({ oldest, after: cursor })
          truncate(oldest)
        }
      })
    } finally {
      leading = false
    }
  }

  /** Asks whether the leader answers: one that hangs, or sleeps, keeps its lock. */
  function checkLeader (): void {
    if (leading || globalThis.document?.hidden) return
    clearTimeout(timer)
    timer = setTimeout(() => { term.abort(MY_TURN) }, leaderTimeoutMs)
    post({ asking: true })
  }

  async function takeTurns (): Promise<PipeEnd> {
    let steal = false
    for (;;) {
      try {
        return await locks.request(lock, steal ? { steal } : { signal: term.signal }, lead)
      } catch (error) {
        signal?.throwIfAborted()
        steal = error === MY_TURN
        // A tab that still leads has been robbed of the lock
        if (!steal && !leading) throw error
        term.abort()
        term = new AbortController()
      }
    }
  }

  channel.onmessage = ({ data }: { data: ChannelMessage<Event> }) => {
    try {
      receive(data)
    } catch (error) {
      term.abort(error)
    }
  }
  signal?.addEventListener('abort', () => {
    channel.onmessage = null
    term.abort(signal.reason)
  }, { signal: life.signal })
  globalThis.document?.addEventListener('visibilitychange', checkLeader, { signal: life.signal })
  try {
    setHealth('connecting')
    checkLeader()
    return await takeTurns()
  } finally {
    clearTimeout(timer)
    life.abort()
    term.abort()
    channel.close()
  }
}
