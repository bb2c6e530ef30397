/**
 * Exclusive Web Locks within a process, for Node before 24: https://w3c.github.io/web-locks/#algorithms
 * Granted in the order of the requests; one with `steal` at once, and whoever held it is told by AbortError.
 */
export function createLockManager (): LockManager {
  const held = new Map<string, Request>()
  const waiting = new Map<string, Request[]>()

  function grant (name: string): void {
    const request = held.has(name) ? undefined : waiting.get(name)?.shift()
    if (request === undefined) return
    held.set(name, request)
    setImmediate(async () => {
      try {
        request.resolve(await request.callback({ name, mode: 'exclusive' }))
      } catch (error) {
        request.reject(error)
      }
      if (held.get(name) !== request) return // it was stolen
      held.delete(name)
      grant(name)
    })
  }

  async function request (name: string, { signal, steal = false }: LockOptions, callback: LockGrantedCallback<unknown>): Promise<unknown> {
    signal?.throwIfAborted()
    return await new Promise((resolve, reject) => {
      const request: Request = { callback, resolve, reject }
      const queue = waiting.get(name) ?? []
      waiting.set(name, queue)
      if (steal) {
        held.get(name)?.reject(new DOMException('The lock was stolen', 'AbortError'))
        held.delete(name)
        queue.unshift(request)
      } else {
        queue.push(request)
      }
      signal?.addEventListener('abort', () => {
        const at = queue.indexOf(request)
        if (at < 0) return
        queue.splice(at, 1)
        setTimeout(reject, 10, signal.reason) // a browser's locks are another process's
      })
      grant(name)
    })
  }

  return {
    request: request as LockManager['request'], // of its forms, the one that is used here
    async query () { return { held: [...held.keys()].map((name) => ({ name })), pending: [...waiting].flatMap(([name, queue]) => queue.map(() => ({ name }))) } }
  }
}

interface Request {
  callback: LockGrantedCallback<unknown>
  resolve: (value: unknown) => void
  reject: (reason: unknown) => void
}
