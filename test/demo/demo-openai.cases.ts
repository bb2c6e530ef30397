import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Test } from 'tap'
import { test } from 'tap'
import { AnswerError, publicError } from '../../demo/answers/answerer.js'
import { createOpenAIAnswerer } from '../../demo/answers/openai.js'
import { listenOnFreePort } from '../helper/free-port.js'

type Chat = (response: ServerResponse, request: IncomingMessage, body: string) => void

/** A server that speaks OpenAI's chat completions over SSE; what it says to a chat is the test's. */
async function startModelServer (t: Test, chat: Chat, models = ['first', 'second']) {
  const chats: Array<{ body: Record<string, unknown>, authorization: string | undefined }> = []
  let listings = 0
  const server = createServer(async (request, response) => {
    if (request.url === '/v1/models') {
      listings++
      response.setHeader('content-type', 'application/json')
      return response.end(JSON.stringify({ object: 'list', data: models.map((id) => ({ id, object: 'model' })) }))
    }
    let body = ''
    for await (const chunk of request) body += String(chunk)
    chats.push({ body: JSON.parse(body), authorization: request.headers.authorization })
    chat(response, request, body)
  })
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { baseUrl: `http://127.0.0.1:${await listenOnFreePort(server)}/v1`, chats, listings: () => listings }
}

function chunk (delta: object, finishReason: string | null = null): string {
  return `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta, finish_reason: finishReason }] })}\n\n`
}

function startStream (response: ServerResponse, ...frames: string[]): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write(frames.join(''))
}

const answerWith = (...frames: string[]): Chat => (response) => {
  startStream(response, ...frames)
  response.end()
}

const neverAborted = new AbortController().signal

async function collect (tokens: AsyncIterable<string>): Promise<string[]> {
  const collected = []
  for await (const token of tokens) collected.push(token)
  return collected
}

test('the tokens of the model arrive in order, whatever else its chunks hold', async (t) => {
  const server = await startModelServer(t, answerWith(
    chunk({ role: 'assistant', content: '' }),
    ': comment\n\n',
    chunk({ content: 'Call' }),
    chunk({ reasoning_content: 'hm' }),
    chunk({ content: ' me\r\n' }),
    chunk({ content: 'Ishmael 🐋' }),
    chunk({}, 'stop'),
    `data: ${JSON.stringify({ id: 'c', choices: [], usage: { total_tokens: 3 } })}\n\n`,
    'data: [DONE]\n\n'))
  const answer = createOpenAIAnswerer({ baseUrl: server.baseUrl, model: 'chosen', apiKey: 'key' })
  t.same(await collect(answer('Who?', neverAborted, [])), ['Call', ' me\r\n', 'Ishmael 🐋'])
  t.match(server.chats, [{
    body: { model: 'chosen', stream: true, messages: [{ role: 'user', content: 'Who?' }] },
    authorization: 'Bearer key'
  }])
  t.equal(server.listings(), 0)
})

test('passages of the user\'s own go with the question, as many as a small model can take', async (t) => {
  const server = await startModelServer(t, answerWith(chunk({ content: 'yes' }, 'stop'), 'data: [DONE]\n\n'))
  const answer = createOpenAIAnswerer({ baseUrl: server.baseUrl, model: 'm' })
  const uploaded = Array.from({ length: 7 }, (_, index) => ({ source: `notes.md, passage ${index + 1}`, text: `text ${index}` }))
  await collect(answer('one', neverAborted, uploaded))
  t.match(server.chats, [{ body: { messages: [{ role: 'system', content: /\nnotes\.md, passage 5:\ntext 4$/ }, { role: 'user', content: 'one' }] } }])
})

test('without a model the first one of the server answers, and is looked up once', async (t) => {
  const server = await startModelServer(t, answerWith(chunk({ content: 'yes' }, 'stop'), 'data: [DONE]\n\n'))
  const answer = createOpenAIAnswerer({ baseUrl: server.baseUrl })
  await collect(answer('one', neverAborted, []))
  await collect(answer('two', neverAborted, []))
  t.match(server.chats, [{ body: { model: 'first' }, authorization: 'Bearer unused' }, { body: { model: 'first' } }])
  t.equal(server.listings(), 1)
})

test('a server without models is a failure that says what to set', async (t) => {
  const server = await startModelServer(t, answerWith(), [])
  const answer = createOpenAIAnswerer({ baseUrl: server.baseUrl })
  await t.rejects(collect(answer('one', neverAborted, [])), { name: 'AnswerError', cause: { message: /lists no model: set OPENAI_MODEL$/ } })
})

test('a model that fails half-way has given its tokens, and then an error fit for readers', async (t) => {
  const failures: Array<[string, Chat]> = [
    ['its socket is cut', (response) => {
      startStream(response, chunk({ content: 'half' }))
      setImmediate(() => response.destroy())
    }],
    ['it reports an error in the stream', answerWith(chunk({ content: 'half' }), 'data: {"error":{"message":"CUDA out of memory on node-7"}}\n\n')],
    ['it sends what is no JSON', answerWith(chunk({ content: 'half' }), 'data: <html>\n\n')],
    ['it ends without a finish reason', answerWith(chunk({ content: 'half' }))]
  ]
  for (const [name, chat] of failures) {
    await t.test(name, async (t) => {
      const server = await startModelServer(t, chat)
      const answer = createOpenAIAnswerer({ baseUrl: server.baseUrl, model: 'm' })
      const seen: string[] = []
      const reading = (async () => {
        for await (const token of answer('one', neverAborted, [])) seen.push(token)
      })()
      await t.rejects(reading, { name: 'AnswerError', message: /^The model (failed|stopped) before its answer was complete\.$/ })
      t.same(seen, ['half'])
    })
  }
})

test('a model that refuses at once is an error fit for readers, with the reason as its cause', async (t) => {
  const server = await startModelServer(t, (response) => {
    response.writeHead(500, { 'content-type': 'application/json', 'x-should-retry': 'false' })
    response.end('{"error":{"message":"CUDA out of memory on node-7"}}')
  })
  const answer = createOpenAIAnswerer({ baseUrl: server.baseUrl, model: 'm' })
  await t.rejects(collect(answer('one', neverAborted, [])), {
    message: 'The model failed before its answer was complete.',
    cause: { status: 500, message: /node-7/ }
  })
})

test('when the signal aborts, the request to the model is cut and the answer ends without an error', async (t) => {
  let cut: Promise<unknown> = Promise.resolve()
  const server = await startModelServer(t, (response) => {
    cut = once(response, 'close')
    startStream(response, chunk({ content: 'half' }))
  })
  const answer = createOpenAIAnswerer({ baseUrl: server.baseUrl, model: 'm' })
  const controller = new AbortController()
  const seen: string[] = []
  for await (const token of answer('one', controller.signal, [])) {
    seen.push(token)
    controller.abort()
  }
  await cut
  t.same(seen, ['half'])
  t.same(await collect(answer('two', AbortSignal.abort(), [])), [], 'and one that is aborted already asks nothing')
  t.equal(server.chats.length, 1)
})

test('a reader of the tokens that leaves early cuts the request too', async (t) => {
  let cut: Promise<unknown> = Promise.resolve()
  const server = await startModelServer(t, (response) => {
    cut = once(response, 'close')
    startStream(response, chunk({ content: 'half' }))
  })
  const tokens = createOpenAIAnswerer({ baseUrl: server.baseUrl, model: 'm' })('one', neverAborted, [])[Symbol.asyncIterator]()
  t.same(await tokens.next(), { done: false, value: 'half' })
  await tokens.return?.()
  await cut
})

test('readers see the text of an AnswerError, and nothing of any other error', async (t) => {
  t.equal(publicError(new AnswerError('The model failed.', { cause: new Error('secret') })), 'The model failed.')
  t.equal(publicError(new Error('password authentication failed')), 'The answer could not be finished.')
  t.equal(publicError('thrown text'), 'The answer could not be finished.')
  t.equal(publicError(new Error('disk full'), { taskId: 'x' }), 'The file could not be taken in.')
})
