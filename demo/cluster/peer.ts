/**
 * Calls between a process and its child, over node's IPC channel. Errors travel as their message and code.
 */

/** What a process and its child have in common. */
export interface Channel {
  send? (message: object, callback: (error: Error | null) => void): boolean
  on (event: 'message', listener: (message: unknown) => void): unknown
  once (event: 'disconnect', listener: () => void): unknown
}

/** The names of the calls, what each of them takes, and what it gives. */
export type Calls = Record<string, { takes: unknown, gives: unknown }>

export type Handlers<C extends Calls> = { [Name in keyof C]: (argument: C[Name]['takes']) => C[Name]['gives'] | Promise<C[Name]['gives']> }

export interface Peer<C extends Calls> {
  /** Rejects with what the other side threw, or when it is gone. */
  call<Name extends keyof C & string> (name: Name, argument: C[Name]['takes']): Promise<C[Name]['gives']>
}

type Wire =
  | { demo: 'call', id: number, name: string, argument: unknown }
  | { demo: 'answer', id: number, value?: unknown, error?: { message: string, code?: string } }

interface Pending {
  resolve: (value: never) => void
  reject: (error: Error) => void
}

/** Answers the other side's calls by `handlers`, and calls it. `There` are the calls that the other side answers. */
export function createPeer<There extends Calls, Here extends Calls> (channel: Channel, handlers: Handlers<Here>): Peer<There> {
  const pending = new Map<number, Pending>()
  let calls = 0

  function send (message: Wire): void {
    channel.send?.(message, (error) => {
      if (error === null) return
      pending.get(message.id)?.reject(error)
      if (message.demo === 'call') pending.delete(message.id)
    })
  }

  async function answer (id: number, name: string, argument: unknown): Promise<void> {
    try {
      send({ demo: 'answer', id, value: await handlers[name]?.(argument) })
    } catch (error) {
      send({ demo: 'answer', id, error: describe(error) })
    }
  }

  channel.on('message', (message) => {
    if (!isWire(message)) return // the cluster's own, or a test runner's
    if (message.demo === 'call') {
      answer(message.id, message.name, message.argument)
      return
    }
    const call = pending.get(message.id)
    pending.delete(message.id)
    if (message.error !== undefined) call?.reject(Object.assign(new Error(message.error.message), message.error))
    else call?.resolve(message.value as never) // what `There` says it gives
  })
  channel.once('disconnect', () => {
    for (const call of pending.values()) call.reject(new Error('the other process is gone'))
    pending.clear()
  })

  return {
    call: (name, argument) => new Promise((resolve, reject) => {
      const id = calls++
      pending.set(id, { resolve, reject })
      send({ demo: 'call', id, name, argument })
    })
  }
}

function isWire (message: unknown): message is Wire {
  return typeof message === 'object' && message !== null && 'demo' in message
}

function describe (error: unknown): { message: string, code?: string } {
  if (!(error instanceof Error)) return { message: String(error) }
  // What node throws for a host with several addresses has no message of its own
  const [first]: unknown[] = error instanceof AggregateError ? error.errors : []
  const message = error.message === '' && first instanceof Error ? first.message : error.message
  return { message, ...'code' in error && typeof error.code === 'string' && { code: error.code } }
}
