import type { Test } from 'tap'
import { test } from 'tap'
import { createPassageAnswerer } from '../../demo/answers/passages.js'
import { allFramesOf, ask, eventsOf, framesOf, loneSupervisor, openSession, startDemo, textOf, type StartedDemo } from '../helper/demo.js'

const answerer = await createPassageAnswerer('books')

const penguins = Array.from({ length: 100 }, (_, index) => `${index}: ${'Penguins waddle over the ice and eat krill. '.repeat(10)}`).join('\n\n')

const upload = (url: string, cookie: string, body: string | Uint8Array, { name = 'penguins.md', type = 'text/markdown' } = {}) =>
  fetch(`${url}/api/uploads?name=${encodeURIComponent(name)}`, { method: 'POST', headers: { cookie, 'content-type': type }, body })

/** The user's notifications, until one of this type has come. */
async function notificationsUntil (frames: AsyncIterable<string>, wanted: string) {
  const seen: Array<{ type: string, scope: object, payload: { taskId: string, progress: number, result: unknown, error: string } }> = []
  for await (const frame of frames) {
    seen.push(JSON.parse(frame.slice('data: '.length, frame.indexOf('\n'))))
    if (seen.at(-1)?.type === wanted) return seen
  }
  throw new Error(`no ${wanted}`)
}

async function startReader (t: Test, options = {}) {
  const demo = await startDemo(t, { answerer, ...options })
  const cookie = await openSession(demo.url)
  const notifications = framesOf(await fetch(`${demo.url}/api/events`, { headers: { cookie } }))
  return { demo, cookie, notifications }
}

test('an uploaded text is taken in step by step, and answers its user\'s questions, nobody else\'s', async (t) => {
  const { demo: { url }, cookie, notifications } = await startReader(t, { ingestMs: 1_000 })
  const uploaded = await upload(url, cookie, penguins)
  t.equal(uploaded.status, 202)
  const { uploadId } = await uploaded.json() as { uploadId: string }

  const seen = await notificationsUntil(notifications, 'source.ingest.completed')
  t.ok(seen.every(({ scope, payload }) => payload.taskId === uploadId && JSON.stringify(scope) === JSON.stringify({ uploadId, name: 'penguins.md' })))
  const percents = seen.filter(({ type }) => type === 'source.ingest.progress').map(({ payload }) => payload.progress)
  t.ok(percents.length > 2, `progress: ${percents.join(', ')}`)
  t.same(percents, [...percents].sort((a, b) => a - b))
  t.equal(percents.at(-1), 100)
  t.match(seen.at(-1), { payload: { result: { passages: 100, name: 'penguins.md' } } })

  const answerFor = async (by: string, prompt: string) => await allFramesOf(await ask(url, { prompt }, { headers: { cookie: by } }))
  const own = await answerFor(cookie, 'What do penguins eat?')
  t.match(textOf(own), /Penguins waddle over the ice/)
  t.match(eventsOf(own).find(({ type }) => type === 'source'), { source: /^penguins\.md \(passage \d+\)$/ })
  t.notMatch(textOf(await answerFor(await openSession(url), 'What do penguins eat?')), /Penguins/)
  t.match(textOf(await answerFor(cookie, 'natural selection')), /Darwin/, 'where a book matches better, it answers')
  t.ok(textOf(await answerFor(cookie, '???')))
})

test('what is no text, or too much of it, is refused with the reason', async (t) => {
  const { url } = await startDemo(t, { answerer })
  const cookie = await openSession(url)
  const refusal = async (response: Promise<Response>) => {
    const { status, message } = { status: (await response).status, ...await (await response).json() as { message: string } }
    return [status, message]
  }
  t.same(await refusal(upload(url, cookie, '')), [400, 'The file is empty'])
  t.same(await refusal(fetch(`${url}/api/uploads?name=a`, { method: 'POST', headers: { cookie } })), [400, 'The file is empty'])
  t.same(await refusal(upload(url, cookie, ' \n ')), [400, 'The file is empty'])
  t.same(await refusal(upload(url, cookie, new Uint8Array([0x63, 0xff, 0xfe]))), [400, 'The file is not UTF-8 text'])
  t.same(await refusal(upload(url, cookie, 'a\0b')), [400, 'The file is not text: it has NUL in it'])
  t.match(await refusal(upload(url, cookie, 'x', { name: ' ' })), [400])
  t.match(await refusal(upload(url, cookie, 'x', { name: 'n'.repeat(201) })), [400])
  t.match(await refusal(fetch(`${url}/api/uploads`, { method: 'POST', headers: { cookie, 'content-type': 'text/plain' }, body: 'x' })), [400])
  t.match(await refusal(upload(url, cookie, '{}', { type: 'application/json' })), [415])
  t.match(await refusal(upload(url, cookie, 'x', { type: 'application/pdf' })), [415])
  t.match(await refusal(upload(url, '', 'x')), [401])
  t.same(await refusal(upload(url, cookie, 'x'.repeat(5 * 2 ** 20 + 1))), [413, 'The file is larger than 5 MiB'])
  t.equal((await upload(url, cookie, 'x'.repeat(5 * 2 ** 20), { type: 'application/octet-stream' })).status, 202, 'and as much as that is not too much')
})

test('a server that shuts down takes in what it has begun with, without pauses', async (t) => {
  const { demo, cookie } = await startReader(t, { ingestMs: 1_000_000 })
  t.equal((await upload(demo.url, cookie, penguins)).status, 202)
  await demo.app.close()

  const next = await startDemo(t, { answerer, databaseUrl: demo.databaseUrl })
  t.same(await next.findOrphans([]), [])
  t.match(textOf(await allFramesOf(await ask(next.url, { prompt: 'penguins' }, { headers: { cookie } }))), /Penguins waddle/)
})

test('another worker goes on where the first one has come to', async (t) => {
  const supervisor = loneSupervisor()
  const { demo, cookie, notifications } = await startReader(t)
  const session = decodeURIComponent(cookie).slice('journal_demo_session='.length).split('.')[0]
  // What a worker that was killed half-way has left
  const uploadId = '00000000-0000-4000-8000-000000000000'
  await demo.app.pg.query('insert into demo_uploads (upload_id, user_id, name, content, producer) values ($1, $2, $3, $4, $5)',
    [uploadId, session, 'penguins.md', penguins, supervisor.self.producer])
  await demo.app.pg.query("insert into demo_passages (upload_id, user_id, position, text) select $1, $2, n, 'kept' from generate_series(0, 49) as n", [uploadId, session])
  t.same(await demo.findOrphans([]), [supervisor.self.producer])
  await demo.adopt([supervisor.self.producer])
  const seen = await notificationsUntil(notifications, 'source.ingest.completed')
  t.match(seen.find(({ type }) => type === 'source.ingest.progress'), { payload: { taskId: uploadId, progress: 50 } })
  const { rows } = await demo.app.pg.query("select count(*)::integer as all, count(*) filter (where text = 'kept')::integer as kept from demo_passages")
  t.same(rows, [{ all: 100, kept: 50 }])
})

test('a file that cannot be taken in is told to its user, without the reason', async (t) => {
  const { demo, cookie, notifications } = await startReader(t)
  await failInserts(demo)
  t.equal((await upload(demo.url, cookie, penguins)).status, 202)
  const seen = await notificationsUntil(notifications, 'source.ingest.failed')
  t.match(seen.at(-1), { payload: { error: 'The file could not be taken in.' } })
})

async function failInserts ({ app }: StartedDemo): Promise<void> {
  await app.pg.query('alter table demo_passages add check (false)')
}
