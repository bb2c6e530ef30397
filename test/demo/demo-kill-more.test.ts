import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import { addressOf, allFramesOf, ask, cookieOf, eventsOf, framesOf, next, openSession, post, textOf } from '../helper/demo.js'
import { startDemoCluster } from '../helper/demo-cluster.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'

const prompt = 'the white whale'

test('the demo, broken by its users', async (t) => {
  const { url, stateOf, bothWorkers, replaced, readOn } = await startDemoCluster(t, { REDIS_URL: '' })

  await t.test('an upload is taken in by another worker when its own is killed, under the same task', async (t) => {
    const cookie = await openSession(url)
    const before = framesOf(await fetch(`${url}/api/events`, { headers: { cookie } }))
    const uploaded = await fetch(`${url}/api/uploads?name=penguins.txt`, {
      method: 'POST', headers: { cookie, 'content-type': 'text/plain' }, body: `${'Penguins eat krill. '.repeat(30)}\n\n`.repeat(40)
    })
    t.equal(uploaded.status, 202)
    const { uploadId } = await uploaded.json() as { uploadId: string }
    const [queued = ''] = await next(before, 1)
    await before.return(undefined)

    // Whichever of the two it is
    const { workers } = await stateOf(cookie)
    for (const { pid } of workers) {
      process.kill(pid, 'SIGKILL')
      await replaced(cookie, pid)
    }
    const cursor = /^id: (.*)$/m.exec(queued)?.[1] ?? ''
    for await (const frame of framesOf(await fetch(`${url}/api/events`, { headers: { cookie, 'last-event-id': cursor } }))) {
      const { type, payload } = JSON.parse(frame.slice('data: '.length, frame.indexOf('\n')))
      if (type !== 'source.ingest.completed') continue
      t.match(payload, { taskId: uploadId, result: { passages: 40, name: 'penguins.txt' } })
      break
    }
    const answer = await allFramesOf(await ask(url, { prompt: 'What do penguins eat?' }, { headers: { cookie } }))
    t.match(textOf(answer), /Penguins eat krill/)
  })

  await t.test('without a message, the worker that is asked is killed, after it has answered', async (t) => {
    const cookie = await openSession(url)
    const killed = await fetch(`${url}/api/demo/kill`, { method: 'POST', headers: { cookie } })
    t.equal(killed.status, 202)
    const { pid } = await killed.json() as { pid: number }
    await replaced(cookie, pid)
  })

  await t.test('a message that nobody produces, or somebody else owns, has no worker to be killed', async (t) => {
    const asked = await ask(url, { prompt })
    const messageId = asked.headers.get('x-message-id')
    const cookie = cookieOf(asked)
    t.equal((await post(`${url}/api/demo/kill`, await openSession(url), { messageId })).status, 404)
    await allFramesOf(asked)
    t.equal((await post(`${url}/api/demo/kill`, cookie, { messageId })).status, 404)
    t.equal((await post(`${url}/api/demo/kill`, cookie, { messageId: randomUUID() })).status, 404)
    t.equal((await post(`${url}/api/demo/kill`, cookie, { messageId: 'x' })).status, 400)
  })

  await t.test('Redis is killed in the middle of an answer, and a worker with it, and both come back', NEEDS_REAL_REDIS, async (t) => {
    const asked = await ask(url, { prompt })
    const cookie = cookieOf(asked)
    const frames = framesOf(asked)
    const seen = await next(frames, 20)
    const switchRedis = async (running: boolean) => {
      const response = await post(`${url}/api/demo/redis`, cookie, { running })
      t.same([response.status, await response.json()], [200, { running }])
      t.match((await stateOf(cookie)).redis, { running, controllable: true })
    }
    await switchRedis(false)
    seen.push(...await next(frames, 20))
    const killed = await post(`${url}/api/demo/kill`, cookie, {})
    const { pid } = await killed.json() as { pid: number }
    try {
      for await (const frame of frames) seen.push(frame)
    } catch {
      // The worker that was killed had this connection
    }
    await readOn(cookie, addressOf(url, asked), seen)
    await replaced(cookie, pid)
    await switchRedis(true)
    await switchRedis(true)
    t.same(eventsOf(seen).map(({ id }) => id), seen.map((_, index) => index), 'every number once')
    t.equal(seen.join(''), (await allFramesOf(await fetch(addressOf(url, asked), { headers: { cookie } }))).join(''))
    await bothWorkers(cookie)
  })
})
