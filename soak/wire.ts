/** What the soak's processes tell each other. */

/** What one producer does; a message may have several, one after another or side by side. */
export interface Production {
  messageId: string
  userId: string
  /**
   * `leased`: through `openMessage`, which takes a message over that another producer has. `numbered`: by `recordEvent`.
   * `intruder`: by `recordEvent` too, with numbers that collide with the first writer's; does not end the message. `left`: it is
   * opened, and nobody produces it.
   */
  kind: 'leased' | 'numbered' | 'intruder' | 'left'
  /** Names the producer in its payloads. */
  writer: number
  events: number
  pauseMs: number
}

export type ToApp =
  | { type: 'produce', production: Production }
  /** `app.close()`, then a new app in the same process. */
  | { type: 'restart' }
  | { type: 'losePublishes', count: number }
  /** The event loop does nothing else for so long. */
  | { type: 'block', ms: number }
  /** Every producer comes to its end now. */
  | { type: 'hurry' }
  | { type: 'measure' }

export type FromApp =
  | { type: 'ready' }
  /** Events of which `true` was said, or `false`; and those whose outcome the log calls unknown. */
  | { type: 'answered', recorded: EventKey[], refused: EventKey[], unknown: EventKey[] }
  | { type: 'over', writer: number }
  | { type: 'memory', rssBytes: number, heapBytes: number }

/** `writer:n` names the event in its message. */
export type EventKey = [messageId: string, key: string]

export type Disturbance = 'cut' | 'slow' | 'abandon'

export type ToReaders =
  | { type: 'follow', messageId: string, userId: string, readers: number }
  | { type: 'disturb', how: Disturbance, share: number }
  /** No reader waits any longer. */
  | { type: 'giveUp' }

export type FromReaders =
  | { type: 'ready' }
  | { type: 'followed', messageId: string, comparison: Comparison }

/** All readers of a message against its rows. */
export interface Comparison {
  /** How many rows the message had when a reader was told that these are all; `null`: every reader had left before. */
  rows: number | null
  delivered: number
  lost: number
  doubled: number
  reordered: number
  /** The slowest delivery of each quarter of a second. */
  slowest: Delivery[]
  /** For each cut of a reader that missed something by it: how long it took until the first missed event was there, in ms. */
  gaps: number[]
}

/** In ms since the epoch, by the machine's one clock. */
export interface Delivery {
  committedAt: number
  deliveredAt: number
}

/** The slowest deliveries are kept one for each of these, in ms. */
export const BUCKET_MS = 250

/** Keeps the slower one. */
export function keepSlowest (slowest: Map<number, Delivery>, delivery: Delivery): void {
  const bucket = Math.floor(delivery.committedAt / BUCKET_MS)
  const known = slowest.get(bucket)
  if (known === undefined || latency(known) < latency(delivery)) slowest.set(bucket, delivery)
}

export function latency ({ committedAt, deliveredAt }: Delivery): number {
  return deliveredAt - committedAt
}

/** To the parent; what a process that is being ended still has to say is lost. */
export function tellParent (message: FromApp | FromReaders): void {
  process.send?.(message, undefined, undefined, () => {})
}

/** Ends with the parent, however that ends, and not by a signal to the whole group, which the parent takes. */
export function obeyParent<Message> (listener: (message: Message) => void): void {
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {})
  process.on('disconnect', () => { process.exit() })
  process.on('message', (message) => { listener(message as Message) }) // the parent sends nothing else
}
