import pg from 'pg'

export interface QueriesSeen {
  count: number
  /** The most that were under way at once, from the call to the answer. */
  mostInFlight: number
  /** The same of the library's reads of pages; 0 where it is another's process. */
  mostReadsInFlight: number
  /** The most that began within a window of the length that was asked for. */
  mostInWindow: number
}

export interface QueryWatch {
  seen (windowMs: number): QueriesSeen
  /** Forgets what was seen; what is under way stays so. */
  reset (): void
}

/** The names under which the library prepares them. */
const READ = /^fmj_read/

/** Counts every statement that this process sends to Postgres from now on, whoever sends it. */
export function watchQueries (): QueryWatch {
  const all = createGauge()
  const reads = createGauge()
  let begunAt: number[] = []

  /** Answers with what is to be called at the statement's end. */
  function begin (config: unknown): () => void {
    const name = typeof config === 'object' && config !== null && 'name' in config ? String(config.name) : ''
    const gauges = READ.test(name) ? [all, reads] : [all]
    begunAt.push(performance.now())
    for (const gauge of gauges) gauge.add(1)
    return () => { for (const gauge of gauges) gauge.add(-1) }
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
        mostReadsInFlight: reads.most,
        mostInWindow
      }
    },
    reset () {
      begunAt = []
      all.reset()
      reads.reset()
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
