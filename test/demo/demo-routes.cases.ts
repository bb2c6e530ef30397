import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import { createPassageAnswerer } from '../../demo/answers/passages.js'
import { ask, allFramesOf, addressOf, cookieOf, eventsOf, live, loneSupervisor, openSession, post, startDemo } from '../helper/demo.js'

const answerer = await createPassageAnswerer('the books')

test('what the demo runs on is told to whoever has a session', async (t) => {
  const { url } = await startDemo(t, { answerer })
  const headers = { cookie: await openSession(url) }
  t.same(await (await fetch(`${url}/api/demo`, { headers })).json(), {
    pid: process.pid,
    workers: [{ pid: process.pid, worker: 1 }],
    redis: { kind: 'redis-server', running: true, controllable: false },
    answers: 'the books'
  })
  t.match(await (await fetch(`${url}/api/stats`, { headers })).json(), {
    pid: process.pid, worker: 1, uptimeS: Number, journal: { viewers: 0, topics: 0, producers: 0 }
  })
  for (const path of ['demo', 'stats']) t.equal((await fetch(`${url}/api/${path}`)).status, 401)
  for (const path of ['demo/kill', 'demo/redis', 'uploads?name=a']) t.equal((await fetch(`${url}/api/${path}`, { method: 'POST' })).status, 401)
})

test('a worker is killed once its answer is out; one that is gone is not', async (t) => {
  let asked: (producer: string) => void = () => {}
  const killed = new Promise<string>((resolve) => { asked = resolve })
  const supervisor = loneSupervisor({ kill: async (producer) => { asked(producer) } })
  const { url } = await startDemo(t, { answerer, supervisor })
  const cookie = await openSession(url)
  const response = await fetch(`${url}/api/demo/kill`, { method: 'POST', headers: { cookie } })
  t.same([response.status, await response.json()], [202, { pid: process.pid }])
  t.equal(await killed, supervisor.self.producer)
  t.equal((await post(`${url}/api/demo/kill`, cookie, { messageId: randomUUID() })).status, 404)

  const gone = await startDemo(t, { answerer, supervisor: loneSupervisor({ pidOf: async () => undefined }) })
  t.equal((await post(`${gone.url}/api/demo/kill`, await openSession(gone.url), {})).status, 404)
})

test('the worker that produces a message is killed for it, by whoever owns the message', async (t) => {
  let goOn = (): void => {}
  const wait = new Promise<void>((resolve) => { goOn = resolve })
  const supervisor = loneSupervisor()
  const { url } = await startDemo(t, {
    supervisor,
    answerer: live(async function * () {
      yield 'one'
      await wait
    })
  })
  const asked = await ask(url, { prompt: 'one' })
  const messageId = asked.headers.get('x-message-id')
  t.equal((await post(`${url}/api/demo/kill`, await openSession(url), { messageId })).status, 404)
  const response = await post(`${url}/api/demo/kill`, cookieOf(asked), { messageId })
  t.same([response.status, await response.json()], [202, { pid: process.pid }])
  goOn()
  await allFramesOf(asked)
  t.same(supervisor.killed, [supervisor.self.producer])
})

test('only a Redis of the demo\'s own is stopped and started', async (t) => {
  const foreign = await startDemo(t, { answerer })
  const cookie = await openSession(foreign.url)
  t.equal((await post(`${foreign.url}/api/demo/redis`, cookie, { running: false })).status, 409)
  t.equal((await post(`${foreign.url}/api/demo/redis`, cookie, { running: 'no' })).status, 400)

  const state = async () => ({ workers: [], redis: { kind: 'redis-server', running: true, controllable: true } })
  const own = await startDemo(t, { answerer, supervisor: loneSupervisor({ state }) })
  const response = await post(`${own.url}/api/demo/redis`, await openSession(own.url), { running: false })
  t.same([response.status, await response.json()], [200, { running: false }])
})

test('an answer that cannot be kept ends with an error for whoever asks for it by its id', async (t) => {
  const { app, url } = await startDemo(t, { answerer })
  await app.pg.query('alter table demo_answers add check (false)')
  const messageId = randomUUID()
  const asked = await ask(url, { prompt: 'one', messageId })
  t.equal(asked.status, 500)
  const again = await ask(url, { prompt: 'one', messageId }, { headers: { cookie: cookieOf(asked) } })
  t.equal(again.status, 303)
  t.match(eventsOf(await allFramesOf(await fetch(addressOf(url, again), { headers: { cookie: cookieOf(asked) } }))), [{ type: 'error', error: 'The answer could not be finished.' }])
})

test('an answer stands though its table is gone at its end', async (t) => {
  let drop = async (): Promise<unknown> => undefined
  const { app, url } = await startDemo(t, {
    answerer: live(async function * () {
      yield 'one'
      await drop()
    })
  })
  drop = async () => await app.pg.query('drop table demo_answers cascade')
  t.match(eventsOf(await allFramesOf(await ask(url, { prompt: 'one' }))), [{ type: 'answer' }, { type: 'end' }])
})
