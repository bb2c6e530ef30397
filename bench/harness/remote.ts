import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** What a process of the benchmark can be asked; see {@link serve}. */
export type Methods = Record<string, (...parameters: never[]) => unknown>

/** A process of the benchmark, and its methods as calls. */
export interface Remote<Served extends Methods> {
  readonly pid: number
  /** Rejects with the error that the method threw, and when the process ends before it has answered. */
  call<Name extends keyof Served & string> (name: Name, ...parameters: Parameters<Served[Name]>): Promise<Awaited<ReturnType<Served[Name]>>>
  /** Lets it close what it has open; resolves when it is gone. Harmless when it is gone already. */
  end (): Promise<void>
  /** SIGKILL; resolves when it is gone. */
  kill (): Promise<void>
}

export interface Call {
  id: number
  name: string
  parameters: unknown[]
}

export type Answer = { id: number, value: unknown } | { id: number, error: string }

/** How long a process may take to close what it has open, in ms. */
const END_TIMEOUT_MS = 10_000

interface Waiting {
  resolve (value: unknown): void
  reject (error: Error): void
}

/**
 * Starts `file` in a Node process of its own, which ends with ours, however that ends.
 */
export async function startRemote<Served extends Methods> (file: URL): Promise<Remote<Served>> {
  const path = fileURLToPath(file)
  const child = fork(path, [], {
    execArgv: ['--import', 'tsx', '--expose-gc'],
    serialization: 'advanced', // arrays of numbers go over as they are
    env: { ...process.env, NODE_ENV: 'production' }
  })
  const waiting = new Map<number, Waiting>()
  let calls = 0
  let gone = false

  const exited = once(child, 'exit').then(([code, signal]) => {
    gone = true
    for (const { reject } of waiting.values()) reject(new Error(`${path} ended with ${code ?? signal}`))
    waiting.clear()
  })
  child.on('message', (message) => {
    const answer = message as Answer // serve() sends nothing else
    const { resolve, reject } = waiting.get(answer.id) ?? {}
    waiting.delete(answer.id)
    if ('error' in answer) reject?.(new Error(answer.error))
    else resolve?.(answer.value)
  })
  await new Promise<void>((resolve, reject) => {
    waiting.set(0, { resolve: () => { resolve() }, reject })
  })

  return {
    pid: child.pid ?? 0,
    call: (name, ...parameters) => new Promise((resolve, reject) => {
      if (gone) return reject(new Error(`${path} has ended`))
      const call: Call = { id: ++calls, name, parameters }
      waiting.set(call.id, { resolve: resolve as (value: unknown) => void, reject }) // the process serves these methods
      child.send(call, (error) => { if (error !== null) reject(error) })
    }),
    async end () {
      const force = setTimeout(() => { child.kill('SIGKILL') }, END_TIMEOUT_MS)
      if (child.connected) child.disconnect()
      await exited
      clearTimeout(force)
    },
    async kill () {
      child.kill('SIGKILL')
      await exited
    }
  }
}
