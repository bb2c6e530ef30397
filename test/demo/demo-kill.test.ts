import { once } from 'node:events'
import http from 'node:http'
import { text } from 'node:stream/consumers'
import { test } from 'tap'
import { addressOf, allFramesOf, ask, cookieOf, eventsOf, framesOf, next, post, textOf } from '../helper/demo.js'
import { startDemoCluster } from '../helper/demo-cluster.js'
import { eventually } from '../helper/journal.js'

const prompt = 'the white whale'

test('an answer goes on under its id when its worker is killed, nothing lost and nothing doubled', async (t) => {
  const { url, bothWorkers, replaced, readOn } = await startDemoCluster(t)
  const whole = textOf(await allFramesOf(await ask(url, { prompt })))

  /** The producer of the only answer that is under way gets the signal. */
  const signalProducer = (signal: NodeJS.Signals) => async (cookie: string): Promise<number> => {
    const producers = new Map<number, number>()
    await eventually(async () => {
      const response = await fetch(`${url}/api/stats`, { headers: { cookie, connection: 'close' } })
      const { pid, journal } = await response.json() as { pid: number, journal: { producers: number } }
      producers.set(pid, journal.producers)
      return journal.producers > 0
    })
    const [pid = 0] = [...producers].find(([, count]) => count > 0) ?? []
    process.kill(pid, signal)
    return pid
  }

  const askToKill = async (cookie: string, messageId: string): Promise<number> => {
    const killed = await post(`${url}/api/demo/kill`, cookie, { messageId })
    t.equal(killed.status, 202)
    return (await killed.json() as { pid: number }).pid
  }

  for (const [name, kill] of [
    ['by the demo', askToKill],
    ['by kill -9 in a shell', signalProducer('SIGKILL')],
    ['by kill in a shell', signalProducer('SIGTERM')]
  ] as const) {
    await t.test(name, async (t) => {
      const asked = await ask(url, { prompt })
      const cookie = cookieOf(asked)
      await bothWorkers(cookie)
      const frames = framesOf(asked)
      const seen = await next(frames, 30)
      const pid = await kill(cookie, asked.headers.get('x-message-id') ?? '')
      try {
        for await (const frame of frames) seen.push(frame)
      } catch {
        // The worker that was killed had this connection
      }
      await readOn(cookie, addressOf(url, asked), seen)

      t.same(eventsOf(seen).map(({ id }) => id), seen.map((_, index) => index), 'every number once')
      t.equal(textOf(seen), whole)
      const replay = await allFramesOf(await fetch(addressOf(url, asked), { headers: { cookie } }))
      t.equal(seen.join(''), replay.join(''), 'byte for byte')
      await replaced(cookie, pid)
    })
  }
})

test('a worker has the other one killed for a message, and lives on', async (t) => {
  const { url, bothWorkers, replaced, readOn } = await startDemoCluster(t)
  const asked = await ask(url, { prompt })
  const [cookie, messageId] = [cookieOf(asked), asked.headers.get('x-message-id')]
  await bothWorkers(cookie)
  /** A connection that is kept leads to one worker for as long as it stands. */
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => { agent.destroy() })
  const request = async (method: string, path: string, body?: object): Promise<unknown> => {
    const outgoing = http.request(`${url}${path}`, { method, agent, headers: { cookie, ...body !== undefined && { 'content-type': 'application/json' } } })
    outgoing.end(body === undefined ? undefined : JSON.stringify(body))
    const [response] = await once(outgoing, 'response') as [http.IncomingMessage]
    return JSON.parse(await text(response))
  }
  await eventually(async () => {
    const { journal } = await request('GET', '/api/stats') as { journal: { producers: number } }
    if (journal.producers > 0) for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy()
    return journal.producers === 0
  })
  const { pid } = await request('POST', '/api/demo/kill', { messageId }) as { pid: number }
  const stats = await request('GET', '/api/stats') as { pid: number }
  t.not(stats.pid, pid, 'the one that was asked is not the one that was killed')
  const frames: string[] = []
  await readOn(cookie, addressOf(url, asked), frames)
  t.same(eventsOf(frames).map(({ id }) => id), frames.map((_, index) => index), 'every number once')
  await replaced(cookie, pid)
})
