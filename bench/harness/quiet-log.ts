import type { FastifyBaseLogger } from 'fastify'

/** The app's log: costs nothing while there is nothing to say; warnings and worse are kept, and shown at once. */
export function createQuietLog (): { log: FastifyBaseLogger, complaints: string[] } {
  const complaints: string[] = []
  const nothing = () => {}

  function complain (fields: unknown, message?: string): void {
    const error = (fields as { err?: unknown } | undefined)?.err
    const line = [message ?? fields, error].filter((part) => part !== undefined).map(String).join(': ')
    complaints.push(line)
    process.stderr.write(`${line}\n`)
  }

  const log = {
    level: 'warn',
    silent: nothing,
    trace: nothing,
    debug: nothing,
    info: nothing,
    warn: complain,
    error: complain,
    fatal: complain,
    child: () => log
  } as FastifyBaseLogger // the overloads of pino's functions come down to these two parameters
  return { log, complaints }
}
