import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

const LOG_LINES = 40
const STOP_TIMEOUT_MS = 10_000

/** Waits for the end of its stdin: our process has ended, in whatever way, SIGKILL included. See {@link guardProcess}. */
const GUARD_SCRIPT = `
trap '' HUP INT TERM
read -r word && exit 0
kill -s "$2" -- "$1" || exit 0
kill -s CONT -- "$1"
tries=0
while kill -s 0 -- "$1" && [ "$tries" -lt 100 ]; do
  # Dead, but not yet buried: the process 1 of many containers does not do it
  case $(cat "/proc/$1/stat") in *') Z '*) break ;; esac
  sleep 0.1
  tries=$((tries + 1))
done
kill -s KILL -- "$1"
[ -z "$3" ] || rm -rf -- "$3"
`

export interface LaunchOptions {
  command: string
  args: string[]
  /** A line of the server's output that says it takes connections. */
  ready: RegExp
  /** What stops the server should our process end without having done so. */
  orphanSignal: 'SIGINT' | 'SIGQUIT' | 'SIGTERM' | 'SIGKILL'
  /** Deleted after the server, should our process end without having stopped it. */
  orphanFolder?: string | undefined
  uid?: number
  gid?: number
  env?: NodeJS.ProcessEnv
  /** How long the server may take to be ready. */
  startTimeoutMs?: number
}

export interface ServerProcess {
  readonly pid: number
  /** Settles when the process, and every child of it that shares its output, is gone. Never rejects. */
  readonly exited: Promise<void>
  /**
   * Sends the signal (and SIGCONT, so that a frozen server hears it), and resolves when the server is gone; SIGKILL
   * follows if it takes longer than ten seconds. Harmless on a server that is gone already.
   */
  stop (signal: NodeJS.Signals): Promise<void>
}

/**
 * Thrown when a program is missing, ends or hangs before it is ready; `log` and the message hold its last lines.
 */
export class LaunchError extends Error {
  readonly log: string
  /** The program itself is not there. */
  readonly missing: boolean

  constructor (message: string, log: string, missing: boolean) {
    super(log === '' ? message : `${message}; its last lines:\n${log}`)
    this.name = 'LaunchError'
    this.log = log
    this.missing = missing
  }
}

/**
 * Below those that the system gives to outgoing connections (Linux: from 32768, macOS: from 49152): one of them may
 * get the port of a server that is down, even a client's that looks for it, which then is connected to itself.
 */
const PORTS = { from: 20_000, count: 12_000 }
let chosen = randomInt(PORTS.count)

/** Each one once: whoever got it may not have begun to listen. */
const choosePort = (): number => PORTS.from + ++chosen % PORTS.count

/**
 * A TCP port of the loopback address that was free a moment ago, and that a server finds free when it comes back. Rejects
 * with the system's error after twenty that were taken.
 */
export async function freePort (choose = choosePort): Promise<number> {
  for (let tries = 1; ; tries++) {
    const port = choose()
    const server = createServer().listen(port, '127.0.0.1')
    try {
      await once(server, 'listening')
    } catch (error) {
      if (tries < 20) continue
      throw error
    }
    await new Promise((resolve) => server.close(resolve))
    return port
  }
}

/**
 * Sees to it that a process does not outlive ours, however ours ends: a small shell, in a session of its own, holds the
 * other end of a pipe that the kernel closes with us. So no signal or exit handler of ours is in the host program's way.
 * `target` is a process id, or a process group as a negative number. Returns the function that calls the guard off.
 */
export function guardProcess (target: number, signal: NodeJS.Signals, folder = ''): () => void {
  const guard = spawn('/bin/sh', ['-c', GUARD_SCRIPT, 'guard', String(target), signal.slice(3), folder], {
    cwd: '/',
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore']
  })
  guard.unref()
  guard.on('error', () => {})
  guard.stdin.on('error', () => {})
  return () => { guard.stdin.end('done\n') }
}

/**
 * Starts a server and resolves when it says that it is ready; rejects with a {@link LaunchError} otherwise, and then
 * nothing is left running. The server is in a session of its own, so that Ctrl-C in a terminal reaches the program that
 * uses it, which may want to write its last rows, and not the server. It keeps our process alive until it is stopped.
 */
export async function launch (options: LaunchOptions): Promise<ServerProcess> {
  const { command, args, ready, orphanSignal, orphanFolder, startTimeoutMs = 60_000, ...rest } = options
  const child = spawn(command, args, { ...rest, cwd: '/', detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  const lines: string[] = []
  let unfinished = ''
  let timer: NodeJS.Timeout | undefined
  let callOffGuard = () => {}

  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()))
  child.once('exit', () => callOffGuard())

  const stop = async (signal: NodeJS.Signals) => {
    const force = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
    child.kill(signal)
    child.kill('SIGCONT')
    await exited
    clearTimeout(force)
  }

  try {
    await new Promise<void>((resolve, reject) => {
      const fail = (reason: string, missing = false) => {
        reject(new LaunchError(`${command} ${reason}`, lines.join('\n'), missing))
      }
      child.on('error', (error: NodeJS.ErrnoException) => fail(`did not start: ${error.message}`, error.code === 'ENOENT'))
      child.once('close', (code, signal) => fail(`ended before it was ready (${signal ?? `exit code ${code}`})`))
      timer = setTimeout(() => fail(`was not ready within ${startTimeoutMs} ms`), startTimeoutMs)
      const read = (chunk: string) => {
        const parts = (unfinished + chunk).split('\n')
        unfinished = parts.pop() ?? ''
        lines.push(...parts)
        lines.splice(0, lines.length - LOG_LINES)
        if (parts.some((line) => ready.test(line))) resolve()
      }
      child.stdout.setEncoding('utf8').on('data', read)
      child.stderr.setEncoding('utf8').on('data', read)
      if (child.pid !== undefined) callOffGuard = guardProcess(child.pid, orphanSignal, orphanFolder)
    })
  } catch (error) {
    if (child.pid !== undefined) await stop('SIGKILL')
    throw error
  } finally {
    clearTimeout(timer)
  }
  if (child.pid === undefined) throw new LaunchError(`${command} has no process id`, '', false)
  return { pid: child.pid, exited, stop }
}
