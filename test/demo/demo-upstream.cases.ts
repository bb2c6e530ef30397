import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { Test } from 'tap'
import { test } from 'tap'
import { createOpenAIAnswerer } from '../../demo/answers/openai.js'
import { ask as askAt, live, startDemo as startApp } from '../helper/demo.js'
import { listenOnFreePort } from '../helper/free-port.js'

/** The demo in front of a model server; `respond` is what that server does with a chat. */
async function startDemo (t: Test, respond: (response: ServerResponse) => void) {
  const model = createServer((request, response) => {
    request.resume()
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    respond(response)
  })
  t.teardown(() => {
    model.closeAllConnections()
    model.close()
  })
  const port = await listenOnFreePort(model)
  const { app, url } = await startApp(t, { answerer: live(createOpenAIAnswerer({ baseUrl: `http://127.0.0.1:${port}/v1`, model: 'm' })) })
  const ask = () => askAt(url, { prompt: 'one' })
  const replay = async (asked: Response) => {
    const cookie = asked.headers.getSetCookie()[0]?.split(';')[0] ?? ''
    return dataOf(await (await fetch(`${url}${asked.headers.get('location')}`, { headers: { cookie } })).text())
  }
  return { app, ask, replay }
}

function token (content: string, finishReason: string | null = null): string {
  return `data: ${JSON.stringify({ id: 'c', choices: [{ index: 0, delta: { content }, finish_reason: finishReason }] })}\n\n`
}

const dataOf = (stream: string): unknown[] => [...stream.matchAll(/^data: (.*)$/gm)].map(([, data = '']) => JSON.parse(data))

test('the answer of an OpenAI-compatible server is recorded token by token', async (t) => {
  const { ask, replay } = await startDemo(t, (response) => {
    response.end(`${token('Call')}${token(' me <b>')}${token('Ishmael', 'stop')}data: [DONE]\n\n`)
  })
  const asked = await ask()
  const events = dataOf(await asked.text())
  t.same(events.slice(0, 3), ['Call', ' me <b>', 'Ishmael'].map((answer) => ({ type: 'answer', answer })))
  t.match(events.slice(3), [{ type: 'end' }])
  t.same(await replay(asked), events)
})

test('a model that fails half-way leaves its tokens and a durable error that tells nothing of the server', async (t) => {
  const { ask, replay } = await startDemo(t, (response) => {
    response.end(`${token('half')}data: {"error":{"message":"CUDA out of memory on node-7"}}\n\n`)
  })
  const asked = await ask()
  const events = dataOf(await asked.text())
  t.match(events, [{ type: 'answer', answer: 'half' }, { type: 'error', error: 'The model failed before its answer was complete.' }])
  t.equal(events.length, 2)
  t.notMatch(JSON.stringify(events), /node-7|openai/i)
  t.same(await replay(asked), events)
})

test('an answer that another writer takes over stops asking the model, and says nothing more', async (t) => {
  let hear = (_chat: ServerResponse): void => {}
  const heard = new Promise<ServerResponse>((resolve) => { hear = resolve })
  const { app, ask } = await startDemo(t, (response) => {
    response.write(token('half'))
    hear(response)
  })
  const asked = await ask()
  const reading = asked.text()
  const chat = await heard
  const messageId = asked.headers.get('x-message-id') ?? ''
  const { rows: [row] } = await app.pg.query('SELECT user_id FROM messages WHERE message_id = $1', [messageId])
  const cut = once(chat, 'close') // the takeover itself may be what cuts it
  const heir = await app.journal.openMessage({ messageId, userId: row.user_id })
  chat.write(token('late'))
  await cut

  await heir.record('answer', { type: 'answer', answer: 'other' })
  await heir.end()
  const events = JSON.stringify(dataOf(await reading))
  t.match(events, /{"type":"answer","answer":"other"},{"type":"end"}\]$/)
  t.notMatch(events, /late|error/)
})

test('a reader that leaves does not stop the model, and a server that closes does', async (t) => {
  const chats: ServerResponse[] = []
  const { app, ask } = await startDemo(t, (response) => {
    chats.push(response)
    response.write(token('half'))
  })
  const asked = await ask()
  const reader = asked.body?.getReader()
  for (let seen = ''; !seen.includes('half');) seen += new TextDecoder().decode((await reader?.read())?.value)
  await reader?.cancel()
  const [chat] = chats
  if (chat === undefined) throw new Error('the model was not asked')

  chat.write(token(' more'))
  t.equal(chat.destroyed, false)
  const cut = once(chat, 'close')
  await app.close()
  await cut
  t.equal(chats.length, 1)
})
