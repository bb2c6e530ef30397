import { randomUUID } from 'node:crypto'
import type { Test } from 'tap'
import { test } from 'tap'
import type { LiveAnswerer } from '../../demo/answers/answerer.js'
import { sessionCookie } from '../../demo/session.js'
import { addressOf, allFramesOf, ask, cookieOf, framesOf, live, next, startDemo } from '../helper/demo.js'

/** The demo on a real socket, answering with `answer`. */
async function startApp (t: Test, answer: LiveAnswerer['answer']): Promise<string> {
  return (await startDemo(t, { answerer: live(answer) })).url
}

/** Says the words of the prompt; `wait` waits for `open`, and `TOO-BIG` is more than a payload may hold. */
function createGatedAnswerer (): { answer: LiveAnswerer['answer'], open: () => void, prompts: string[] } {
  const prompts: string[] = []
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => { open = resolve })
  return {
    prompts,
    open,
    answer: async function * (prompt) {
      prompts.push(prompt)
      for (const word of prompt.split(' ')) {
        if (word === 'wait') await opened
        else yield word === 'TOO-BIG' ? 'x'.repeat(2 ** 20) : `${word} `
      }
    }
  }
}

test('an answer streams its tokens in order, then its end, to a reader who had no session', async (t) => {
  const url = await startApp(t, createGatedAnswerer().answer)
  const response = await ask(url, { prompt: 'one two three' })
  t.equal(response.status, 200)
  t.match(response.headers.get('content-type'), /^text\/event-stream/)
  t.equal(response.headers.get('location'), `/api/messages/${response.headers.get('x-message-id')}/events`)
  t.match(response.headers.get('set-cookie'), /^journal_demo_session=[^;]+; Max-Age=31536000; Path=\/; HttpOnly; SameSite=Lax$/)

  const frames = await allFramesOf(response)
  t.same(frames.slice(0, 3), ['one', 'two', 'three'].map((word, id) => `data: {"type":"answer","answer":"${word} "}\nid: ${id}\n\n`))
  t.match(frames[3], /^data: {"type":"end".*}\nid: 3\n\n$/)
  t.equal(frames.length, 4)
})

test('an answer cut in the middle goes on at its Location, live part included, and then there is nothing more', async (t) => {
  const { answer, open } = createGatedAnswerer()
  const url = await startApp(t, answer)
  const phone = new AbortController()
  const response = await ask(url, { prompt: 'one two three wait four five' }, { signal: phone.signal })
  const headers = { cookie: cookieOf(response) }
  const address = addressOf(url, response)
  const before = await next(framesOf(response), 2)
  phone.abort()

  const resumed = await fetch(address, { headers: { ...headers, 'last-event-id': '1' } })
  t.equal(resumed.status, 200)
  const frames = framesOf(resumed)
  const after = await next(frames, 1)
  open()
  for await (const frame of frames) after.push(frame)

  const whole = await allFramesOf(await fetch(address, { headers }))
  t.equal(whole.length, 6)
  t.same([...before, ...after].join(''), whole.join(''), 'joined, the two are the whole, byte for byte')

  const nothing = await fetch(address, { headers: { ...headers, 'last-event-id': '5' } })
  t.equal(nothing.status, 204)
  t.equal(await nothing.text(), '')
})

test('an answer is read by its own session only: no or a forged cookie is 401, another session 404', async (t) => {
  const url = await startApp(t, createGatedAnswerer().answer)
  const response = await ask(url, { prompt: 'secret' })
  await allFramesOf(response)
  const statusWith = async (cookie: string): Promise<number> => {
    const read = await fetch(addressOf(url, response), { headers: { cookie } })
    await read.body?.cancel()
    return read.status
  }

  const own = cookieOf(response)
  t.equal(await statusWith(own), 200)
  t.equal(await statusWith(cookieOf(await fetch(`${url}/`))), 404, 'another session')

  const [id = '', signature = ''] = decodeURIComponent(own).slice(sessionCookie.length + 1).split('.')
  t.equal(await statusWith(`${sessionCookie}=${id}.${encodeURIComponent(signature)}`), 200, 'the cookie is what this test takes it for')
  for (const forged of ['', id, `${id}.`, `${id}.${'A'.repeat(43)}`, `${randomUUID()}.${signature}`, `.${signature}`, '%E0%A4%A']) {
    t.equal(await statusWith(`${sessionCookie}=${forged}`), 401, forged)
  }
  t.equal(await statusWith(''), 401, 'no cookie')
})

test('a reader keeps its session, and one with a forged cookie gets a new one', async (t) => {
  const url = await startApp(t, createGatedAnswerer().answer)
  const first = await ask(url, { prompt: 'one' })
  const again = await ask(url, { prompt: 'two' }, { headers: { cookie: cookieOf(first) } })
  t.same(again.headers.getSetCookie(), [])
  const forged = await ask(url, { prompt: 'three' }, { headers: { cookie: `${sessionCookie}=${randomUUID()}.forged` } })
  t.equal(forged.headers.getSetCookie().length, 1)
  await Promise.all([first, again, forged].map(allFramesOf))
})

test('a question sent again with its id is not answered twice: it leads to the answer there is', async (t) => {
  const { answer, open, prompts } = createGatedAnswerer()
  const url = await startApp(t, answer)
  const body = { prompt: 'one wait two', messageId: randomUUID() }
  const first = await ask(url, body)
  t.equal(first.headers.get('x-message-id'), body.messageId)
  const frames = framesOf(first)
  await next(frames, 1)

  const again = await ask(url, body, { headers: { cookie: cookieOf(first) } })
  t.equal(again.status, 303)
  t.equal(again.headers.get('location'), first.headers.get('location'))
  open()
  t.equal((await next(frames, 2)).length, 2, 'the first one goes on')
  t.same(prompts, ['one wait two'])

  const foreign = await ask(url, body)
  t.equal(foreign.status, 403)
  t.same(prompts, ['one wait two'])
})

test('an answer with a token that cannot be recorded ends with an error and not with a hole', async (t) => {
  const url = await startApp(t, createGatedAnswerer().answer)
  const frames = await allFramesOf(await ask(url, { prompt: 'one TOO-BIG two' }))
  t.equal(frames.length, 2)
  t.match(frames[1], '{"type":"error","error":"The answer could not be finished."')
})

test('a question that is none is a 400 and starts nothing', async (t) => {
  const { answer, prompts } = createGatedAnswerer()
  const url = await startApp(t, answer)
  for (const body of [{}, { prompt: '' }, { prompt: ' \n' }, { prompt: 'x'.repeat(8001) }, { prompt: 'x', messageId: 'y' }, [], 'x', null]) {
    t.equal((await ask(url, body)).status, 400, JSON.stringify(body).slice(0, 40))
  }
  t.equal((await ask(url, {}, { body: '{"prompt":' })).status, 400)
  t.equal((await ask(url, { prompt: 'x' }, { headers: { 'content-type': 'text/plain' } })).status, 400, 'as a form of another site sends it')
  t.same(prompts, [])
})

test('an app that cannot start closes what it had opened, and says why', async (t) => {
  await t.rejects(startDemo(t, { databaseUrl: 'postgres://127.0.0.1:1/none', answerer: live(createGatedAnswerer().answer) }), { code: 'ECONNREFUSED' })
})
