/**
 * `readme-example.ts <folder>`: runs the README's example in a project that has the packed tarball installed, once as
 * an ES module and once as CommonJS, on servers of its own; cuts the answer in the middle and resumes it. The example of
 * notifications is run in the same app.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startPostgres } from '../servers/postgres.js'
import { startRedis } from '../servers/redis.js'
import { freePort } from '../servers/server-process.js'

const [, , folder = ''] = process.argv
const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8')
const examples = [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, code = '']) => code)
const [first = '', required = ''] = examples
const notifications = examples.find((code) => code.includes('trackTask')) ?? ''
/** Both in one app; what the second needs of an app is this. */
const example = first.replace('app.listen(', `const index = (line) => sleep(1, line)\n${notifications}\napp.listen(`)
const body = example.slice(example.indexOf('\n\n'))

const postgres = await startPostgres({ dataDir: join(folder, 'postgres'), persistent: false })
const redis = await startRedis()
try {
  await run('example.mjs', example)
  await run('example.cjs', required + body)
} finally {
  await Promise.all([postgres.stop(), redis.stop()])
}

async function run (name: string, code: string): Promise<void> {
  await writeFile(join(folder, name), code)
  const port = await freePort()
  const child = spawn(process.execPath, [name], {
    cwd: folder,
    stdio: 'inherit',
    env: { ...process.env, DATABASE_URL: postgres.url, REDIS_URL: redis.url, PORT: String(port) }
  })
  try {
    await answerTwice(`http://127.0.0.1:${port}`)
    console.log(`${name}: the answer was resumed and is whole`)
    await followTask(`http://127.0.0.1:${port}`)
    console.log(`${name}: the task was followed to its end`)
  } finally {
    child.kill()
    await once(child, 'exit')
  }
}

async function answerTwice (url: string): Promise<void> {
  const first = await started(`${url}/api/chat`)
  const location = new URL(first.headers.get('location') ?? '', url)
  const begun = await frames(first, (text) => text.includes('id: 2\n\n'))
  const rest = await frames(await fetch(location, { headers: { 'last-event-id': '2' } }))
  const whole = await frames(await fetch(location))
  if (begun + rest !== whole) throw new Error(`the parts differ from the whole:\n${begun}---\n${rest}---\n${whole}`)
  const last = String(whole.split('\n\n').length - 2)
  const { status } = await fetch(location, { headers: { 'last-event-id': last } })
  if (status !== 204) throw new Error(`the last cursor, ${last}, got ${status}`)
}

async function followTask (url: string): Promise<void> {
  const events = await fetch(`${url}/api/events`)
  const { status } = await fetch(`${url}/api/sources/moby.txt`, { method: 'POST', body: 'Call me Ishmael.\n'.repeat(300), headers: { 'content-type': 'text/plain' } })
  if (status !== 202) throw new Error(`the upload got ${status}`)
  const text = await frames(events, (text) => text.includes('source.ingest.completed') && text.endsWith('\n\n'))
  const types = [...text.matchAll(/"type":"source\.ingest\.(\w+)"/g)].map(([, type]) => type)
  if (types[0] !== 'queued' || types.filter((type) => type === 'progress').length < 2 || types.at(-1) !== 'completed') throw new Error(`the task's notifications are ${types.join()}`)
  if (!text.includes('"result":{"lines":301}')) throw new Error(`the result is missing:\n${text}`)
}

/** The server needs a moment before it listens. */
async function started (url: string): Promise<Response> {
  for (let tries = 1; ; tries++) {
    try {
      return await fetch(url, { method: 'POST' })
    } catch (error) {
      if (tries === 100) throw error
      await new Promise((resolve) => { setTimeout(resolve, 100) }) // the example says nothing when it listens, so it is asked until it answers
    }
  }
}

/** The frames, without comments and `retry:`, until the end or until `enough`; then the connection is cut. */
async function frames (response: Response, enough: (text: string) => boolean = () => false): Promise<string> {
  let text = ''
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk
    if (enough(text)) break
  }
  return text.split(/(?<=\n\n)/).filter((frame) => frame.startsWith('data:')).join('')
}
