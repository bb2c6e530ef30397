import type { Answer, Call, Methods } from './remote.js'

/**
 * Answers the parent's calls with these methods. When the parent lets go, however it ends, `close` is awaited and the
 * process ends; not by a signal to the whole group, which the parent takes.
 */
export function serve (methods: Methods, close: () => unknown = () => {}): void {
  const answer = (message: Answer) => { process.send?.(message, undefined, undefined, () => {}) }

  async function take ({ id, name, parameters }: Call): Promise<void> {
    try {
      const method = methods[name] as ((...parameters: unknown[]) => unknown) | undefined // the parent knows their types
      if (method === undefined) throw new TypeError(`no method ${name}`)
      answer({ id, value: await method(...parameters) })
    } catch (error) {
      answer({ id, error: error instanceof Error ? error.stack ?? error.message : String(error) })
    }
  }

  async function leave (): Promise<void> {
    try {
      await close()
    } finally {
      process.exit()
    }
  }

  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {})
  process.on('disconnect', leave)
  process.on('message', (message) => { take(message as Call) }) // the parent sends nothing else
  answer({ id: 0, value: null })
}
