import pg from 'pg'

export interface QueriesSeen {
  count: number
  /** The most that were under way at once, from the call to the answer. */
  mostInFlight: number
  /** The same of the statements of each name; those without one are `''`. */
  mostInFlightByName: Record<string, number>
  /** The most that began within a window of the length that was asked for. */
  mostInWindow: number
}

export interface QueryWatch {
  seen (windowMs: number): QueriesSeen
  /** Forgets what was seen; what is under way stays so. */
  reset (): void
}

/** Counts every statement that this process sends to Postgres from now on, whoever sends it. */
export function watchQueries (): QueryWatch {
  const all = createGauge()
  const byName = new Map<string, Gauge>()
  let begunAt: number[] = []

  /** Answers with what is to be called at the statement's end. */
  function begin (config: unknown): () => void {
    const name = typeof config === 'object' && config !== null && 'name' in config ? String(config.name) : ''
    const own = byName.get(name) ?? createGauge()
    byName.set(name, own)
    begunAt.push(performance.now())
    all.add(1)
    own.add(1)
    return () => {
      all.add(-1)
      own.add(-1)
    }
  }

  const query = pg.Client.prototype.query as (...parameters: unknown[]) => unknown // one for all its overloads
  Object.assign(pg.Client.prototype, {
    query (this: pg.Client, ...parameters: unknown[]) {
      const end = begin(parameters[0])
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
      return {
        count: begunAt.length,
        mostInFlight: all.most,
        mostInFlightByName: Object.fromEntries([...byName].map(([name, { most }]) => [name, most])),
        mostInWindow
      }
    },
    reset () {
      begunAt = []
      all.reset()
      for (const gauge of byName.values()) gauge.reset()
    }
  }
}

interface Gauge {
  readonly most: number
  add (change: number): void
  reset (): void
}

function createGauge (): Gauge {
  let value = 0
  let most = 0
  return {
    get most () { return most },
    add (change) {
      value += change
      most = Math.max(most, value)
    },
    reset () { most = value }
  }
}
