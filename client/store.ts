import { BEGINNING, connectEvents, type UserEvent } from './events.js'
import { fold, type Approval, type Folded, type Task } from './fold.js'
import type { Health } from './options.js'
import { parseObject } from './response.js'
import { PREFIX, shareEvents, type SharedEventsOptions } from './share.js'

/** Options of `createNotificationStore`. */
export interface NotificationStoreOptions {
  /** How many events, tasks and approvals are held. Default 100. */
  capacity?: number | undefined
  /**
   * Stores with the same name share what is kept, and the connection. Put the user's id in it. Default: nothing is
   * shared.
   */
  name?: string | undefined
  /** Default `localStorage`. A storage that fails, or is missing, is not used. */
  storage?: KeyValueStorage | undefined
}

/** The part of the Web Storage API that is used. */
export interface KeyValueStorage {
  getItem (key: string): string | null
  setItem (key: string, value: string): void
}

/** Options of the notifications' connection. `share: false`: not through another tab's connection. */
export type StoreConnectOptions = Omit<SharedEventsOptions, 'name' | 'cursor' | 'onEvent' | 'signal'> & {
  share?: boolean | undefined
}

/** What the page shows. A new object after each change, and the same one until then. */
export interface NotificationSnapshot {
  /** The newest events, the newest one last. */
  readonly events: readonly UserEvent[]
  /** The id of the newest event. */
  readonly cursor: string | null
  readonly health: Health
  /** Tasks, without dismissed ones. */
  readonly tasks: readonly Task[]
  /** Approvals that are neither cleared nor dismissed. */
  readonly approvals: readonly Approval[]
  /** The error with which the connection was given up. */
  readonly error: unknown
}

/** For React: `useSyncExternalStore(store.subscribe, store.getSnapshot)`. */
export interface NotificationStore {
  /** @returns a function that ends the subscription */
  subscribe (listener: () => void): () => void
  /** The same object until something changes. */
  getSnapshot (): NotificationSnapshot
  /** Hides an approval, or a task, in all tabs for 24 hours, whatever comes for it. The server is not told. */
  dismiss (id: string): void
  /**
   * Follows the notifications from the cursor, in place of what was followed so far. @returns a function that ends it
   */
  connect (options: StoreConnectOptions): () => void
}

const DISMISSED_MS = 24 * 60 * 60 * 1_000

/**
 * A store of the user's events for a page. It keeps the cursor in `localStorage`, together with what was made of the
 * events up to it. So a refresh loses neither an event nor an approval.
 */
export function createNotificationStore (
  { capacity = 100, name = '', storage }: NotificationStoreOptions = {}
): NotificationStore {
  const listeners = new Set<() => void>()
  const key = PREFIX + name
  const dismissedKey = `${key} dismissed`
  const kept = load(key)
  // Only stores write there
  const folded = { tasks: Object(kept.tasks), approvals: Object(kept.approvals) } as Folded
  let events: UserEvent[] = []
  let cursor = typeof kept.cursor === 'string' ? kept.cursor : null
  let health: Health = 'connecting'
  let error: unknown = null
  let dismissed = load(dismissedKey)
  let snapshot: NotificationSnapshot | null = null
  let saving = false
  let disconnect = (): void => {}

  function load (key: string): Record<string, unknown> {
    try {
      return parseObject((storage ?? localStorage).getItem(key) ?? '') ?? {}
    } catch {
      return {} // no storage here, or not for this page
    }
  }

  function save (key: string, value: object): void {
    try {
      (storage ?? localStorage).setItem(key, JSON.stringify(value))
    } catch {
      // The storage is full, or missing: after a refresh, only new events are shown
    }
  }

  function change (): void {
    snapshot = null
    for (const listener of listeners) listener()
  }

  /** Runs once for all the events of a chunk. */
  function saveSoon (): void {
    if (saving) return
    saving = true
    queueMicrotask(() => {
      saving = false
      save(key, { cursor, ...folded })
    })
  }

  function isDismissed (id: string): boolean {
    return Number(dismissed[id]) > Date.now() - DISMISSED_MS
  }

  function shown<Value> (record: Record<string, Value>): Value[] {
    return Object.entries(record).flatMap(([id, value]) => isDismissed(id) ? [] : value)
  }

  return {
    subscribe (listener) {
      listeners.add(listener)
      return () => { listeners.delete(listener) }
    },
    getSnapshot: () => (snapshot ??= {
      events,
      cursor,
      health,
      tasks: shown(folded.tasks),
      approvals: shown(folded.approvals),
      error
    }),
    dismiss (id) {
      dismissed = { ...dismissed, ...load(dismissedKey), [id]: Date.now() } // other tabs dismiss too
      for (const other in dismissed) if (!isDismissed(other)) delete dismissed[other]
      save(dismissedKey, dismissed)
      change()
    },
    connect ({ share = true, onHealth, onTruncated, ...options }) {
      disconnect()
      const life = new AbortController()
      const { signal } = life
      disconnect = () => { life.abort() }
      error = null
      globalThis.addEventListener?.('storage', (event) => {
        if (event.key !== dismissedKey) return
        dismissed = load(dismissedKey)
        change()
      }, { signal })
      const follow = share ? shareEvents : connectEvents
      follow({
        ...options,
        name,
        cursor,
        signal,
        onEvent (event, id) {
          if (id !== null) cursor = id
          events = [...events, event].slice(-capacity)
          fold(folded, event, capacity)
          saveSoon()
          change()
        },
        onHealth (now) {
          health = now
          change()
          onHealth?.(now)
        },
        onTruncated (oldest) {
          cursor = BEGINNING
          saveSoon()
          change()
          onTruncated?.(oldest)
        }
      }).catch((reason: unknown) => {
        if (signal.aborted) return
        error = reason
        health = 'unhealthy'
        change()
      })
      return disconnect
    }
  }
}
