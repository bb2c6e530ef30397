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

  const demo = await runDemo(config, say)
  if (!asked.signal.aborted) {
    say(`\nOpen      ${demo.url}\n`)
    await once(asked.signal, 'abort')
  }
  say('Stopping …')
  await demo.close()
  process.off('SIGINT', ask)
  process.off('SIGTERM', ask)
}

main().catch(({ message }: Error) => {
  process.stderr.write(`The demo could not start: ${message}\n`)
  process.exitCode = 1
})
