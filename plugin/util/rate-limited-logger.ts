import type { FastifyBaseLogger } from 'fastify'

/**
 * Writes a line at once, then at most one a second for each `kind` of failure. The next line tells how many were
 * `suppressed`. So an outage during a thousand events a second costs one line a second.
 */
export interface RateLimitedLogger {
  warn (kind: string, fields: object, message: string): void
  error (kind: string, fields: object, message: string): void
}

const INTERVAL_MS = 1_000

/** Limits each kind of line by itself. */
export function createRateLimitedLogger (logger: FastifyBaseLogger): RateLimitedLogger {
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
    const shown = suppressed > 0 ? { ...fields, suppressed } : fields
    try {
      logger[level](shown, message)
    } catch {
      logger[level]({ ...shown, err: withoutCause(shown) }, message)
    }
  }

  return {
    warn: (kind, fields, message) => { write('warn', kind, fields, message) },
    error: (kind, fields, message) => { write('error', kind, fields, message) }
  }
}

/** Makes a thrown value safe to log. Reading an app's error, or its cause, may throw. */
function withoutCause ({ err }: { err?: unknown }): object {
  try {
    const { name, message, stack } = err as Error // nothing else among the fields can throw
    return { type: name, message, stack }
  } catch {
    return { message: 'an error that cannot be shown' }
  }
}
