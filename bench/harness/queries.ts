import pg from 'pg'

export interface QueriesSeen {
  count: number
  /** The most that were under way at once, from the call to the answer. */
  mostInFlight: number
  /** The most that began within a window of the length that was asked for. */
  mostInWindow: number
}

/** Counts every statement that this process sends to Postgres from now on, whoever sends it. */
export function watchQueries (): { seen (windowMs: number): QueriesSeen } {
  const begunAt: number[] = []
  let inFlight = 0
  let mostInFlight = 0

  function begin (): void {
    begunAt.push(performance.now())
    mostInFlight = Math.max(mostInFlight, ++inFlight)
  }
  function end (): void { inFlight-- }

  const query = pg.Client.prototype.query as (...parameters: unknown[]) => unknown // one for all its overloads
  Object.assign(pg.Client.prototype, {
    query (this: pg.Client, ...parameters: unknown[]) {
      begin()
      const callback = parameters.at(-1)
      if (typeof callback === 'function') {
        parameters[parameters.length - 1] = (...results: unknown[]) => {
          end()
          callback(...results)
        }
      }
      const answer = query.apply(this, parameters)
      if (answer instanceof Promise) answer.then(end, end)
      return answer
    }
  })

  return {
    seen (windowMs) {
      let mostInWindow = 0
      for (let from = 0, to = 0; to < begunAt.length; to++) {
        while ((begunAt[to] ?? 0) - (begunAt[from] ?? 0) >= windowMs) from++
        mostInWindow = Math.max(mostInWindow, to - from + 1)
      }
      return { count: begunAt.length, mostInFlight, mostInWindow }
    }
  }
}
