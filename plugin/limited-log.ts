import type { FastifyBaseLogger } from 'fastify'

/**
 * Writes a line at once, then at most one a second for each `kind` of failure; the next line written says how many
 * were `suppressed` since the last. A server that is away while a thousand events a second come in costs one line
 * a second.
 */
export interface LimitedLog {
  warn (kind: string, fields: object, message: string): void
  error (kind: string, fields: object, message: string): void
}

const INTERVAL_MS = 1_000

export function createLimitedLog (logger: FastifyBaseLogger): LimitedLog {
  const kinds = new Map<string, { writtenAt: number, suppressed: number }>()

  function write (level: 'warn' | 'error', kind: string, fields: object, message: string): void {
    const now = performance.now()
    const last = kinds.get(kind)
    if (last !== undefined && now - last.writtenAt < INTERVAL_MS) {
      last.suppressed++
      return
    }
    kinds.set(kind, { writtenAt: now, suppressed: 0 })
    const suppressed = last?.suppressed ?? 0
    logger[level](suppressed > 0 ? { ...fields, suppressed } : fields, message)
  }

  return {
    warn: (kind, fields, message) => { write('warn', kind, fields, message) },
    error: (kind, fields, message) => { write('error', kind, fields, message) }
  }
}
