import { once } from 'node:events'
import { readConfig } from './config.js'
import { runDemo } from './run.js'

/** `npm start`: the demo until SIGINT or SIGTERM. Exit code 0 after a clean end, 1 when it could not start. */

const say = (line: string): void => { process.stdout.write(`${line}\n`) }

async function main (): Promise<void> {
  const config = readConfig(process.env)
  const asked = new AbortController()
  const ask = (): void => { asked.abort() }
  // Listened to from the first moment: a Ctrl-C while Postgres starts must not leave it behind. And to the last, so that
  // a second Ctrl-C does not interrupt the stopping.
  process.on('SIGINT', ask)
  process.on('SIGTERM', ask)

  try {
    const demo = await runDemo(config, say)
    let failure: Error | undefined
    if (!asked.signal.aborted) {
      say(`\nOpen      ${demo.url}\n`)
      failure = await Promise.race([demo.failed, once(asked.signal, 'abort').then(() => undefined)])
    }
    say('Stopping …')
    await demo.close()
    if (failure !== undefined) fail(`The demo had to end: ${failure.message}`)
  } catch (error) {
    // Ctrl-C in a terminal reaches what is being started as well, and may be all that went wrong
    if (!asked.signal.aborted) throw error
    say('Stopping …')
  }
  process.off('SIGINT', ask)
  process.off('SIGTERM', ask)
}

function fail (why: string): void {
  process.stderr.write(`${why}\n`)
  process.exitCode = 1
}

main().catch(({ message }: Error) => { fail(`The demo could not start: ${message}`) })
