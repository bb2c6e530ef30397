import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { test } from 'tap'
import { createPassageAnswerer } from '../../demo/answers/passages.js'
import { addressOf, allFramesOf, ask, cookieOf, eventsOf, framesOf, live, loneSupervisor, next, openSession, post, startDemo, textOf, type StartedDemo } from '../helper/demo.js'
import { eventually } from '../helper/journal.js'

const answerer = await createPassageAnswerer('books')

/** An answer that waits for its user. */
async function askFor ({ url }: StartedDemo, prompt = 'order me the white whale') {
  const asked = await ask(url, { prompt })
  const frames = await allFramesOf(asked)
  const cookie = cookieOf(asked)
  const approval = eventsOf(frames).find(({ type }) => type === 'approval')
  const messageId = asked.headers.get('x-message-id')
  const decide = (approved: unknown, { by = cookie, approvalId = approval?.['approvalId'], of = messageId } = {}) =>
    post(`${url}/api/messages/${of}/approval`, by, { approvalId, approved })
  const rest = async () => await allFramesOf(await fetch(addressOf(url, asked), { headers: { cookie, 'last-event-id': String(frames.length - 1) } }))
  return { asked, frames, cookie, approval, messageId, decide, rest }
}

for (const [approved, said] of [[true, /^You allowed it, so it is done: Order “Moby-Dick” by Herman Melville\./], [false, /^You did not allow it, so nothing was done/]] as const) {
  test(`an answer that wants to do something waits for its user, and goes on when that ${approved ? 'allows' : 'forbids'} it`, async (t) => {
    const demo = await startDemo(t, { answerer })
    const { cookie, asked, frames, approval, decide, rest } = await askFor(demo)
    t.match(approval, { action: { tool: 'order_book', title: 'Order “Moby-Dick” by Herman Melville' } })
    t.match(eventsOf(frames).at(-1), { type: 'end', reason: 'approval' })

    const decided = await decide(approved)
    t.equal(decided.status, 202)
    t.same(await decided.json(), { ok: true })
    const more = await rest()
    t.match(textOf(more), said)
    t.match(eventsOf(more).at(-1), { type: 'end', reason: 'complete' })
    const whole = await allFramesOf(await fetch(addressOf(demo.url, asked), { headers: { cookie } }))
    t.equal([...frames, ...more].join(''), whole.join(''), 'both parts are one answer')
  })
}

test('the user is told of the question, and that it is settled', async (t) => {
  const { url } = await startDemo(t, { answerer })
  const cookie = await openSession(url)
  const notifications = framesOf(await fetch(`${url}/api/events`, { headers: { cookie } }))
  const asked = await ask(url, { prompt: 'send it' }, { headers: { cookie } })
  await allFramesOf(asked)
  const messageId = asked.headers.get('x-message-id')
  const [required = ''] = await next(notifications, 1)
  const { type, payload } = JSON.parse(required.slice('data: '.length, required.indexOf('\n')))
  t.match({ type, payload }, { type: 'tool.approval.required', payload: { messageId, action: { tool: 'send_email' } } })

  t.equal((await post(`${url}/api/messages/${messageId}/approval`, cookie, { approvalId: payload.approvalId, approved: true })).status, 202)
  const [cleared = ''] = await next(notifications, 1)
  t.match(cleared, '"type":"tool.approval.cleared"')
  t.match(cleared, payload.approvalId)
})

test('what is decided stays decided, and nobody decides for another', async (t) => {
  const demo = await startDemo(t, { answerer })
  const { decide, rest } = await askFor(demo)
  t.equal((await decide(true, { by: await openSession(demo.url) })).status, 404, 'another session')
  t.equal((await decide(true, { by: '' })).status, 401, 'no session')
  t.equal((await decide(true, { approvalId: randomUUID() })).status, 404, 'another question')
  t.equal((await decide(true, { of: randomUUID() })).status, 404, 'another message')
  t.equal((await decide('perhaps')).status, 400)
  t.equal((await decide(true, { approvalId: 'x' })).status, 400)

  const both = await Promise.all([decide(false), decide(true)])
  t.same(both.map(({ status }) => status).sort(), [202, 409], 'two pages at once')
  t.equal((await decide(true)).status, 409)
  t.equal(eventsOf(await rest()).filter(({ type }) => type === 'end').length, 1, 'the answer went on once')
})

test('a decision that comes before the answer has come to its end is heard all the same', async (t) => {
  const { app, url } = await startDemo(t, { answerer, tokensPerSecond: 20 })
  const asked = await ask(url, { prompt: 'buy it' })
  const cookie = cookieOf(asked)
  let seen = await next(framesOf(asked), 1)
  // Before the page can know of the question: so that it is surely not too late
  const { rows: [approval] } = await app.pg.query<{ approval_id: string }>('select approval_id from demo_approvals')
  const address = addressOf(url, asked).replace('/events', '/approval')
  t.equal((await post(address, cookie, { approvalId: approval?.approval_id, approved: true })).status, 202)
  while (!/done/.test(textOf(seen))) {
    const cursor = String(seen.length - 1)
    seen = [...seen, ...await allFramesOf(await fetch(addressOf(url, asked), { headers: { cookie, 'last-event-id': cursor } }))]
  }
  t.same(eventsOf(seen).map(({ type }) => type).filter((type) => type !== 'answer'), ['approval', 'end', 'end'])
  t.same(eventsOf(seen).map(({ id }) => id), seen.map((_, index) => index))
})

test('a decision whose worker dies at once is carried out by another', async (t) => {
  const supervisor = loneSupervisor()
  const first = await startDemo(t, { answerer, supervisor })
  const { asked, cookie, frames, messageId, approval } = await askFor(first)
  await first.app.close()

  const heir = await startDemo(t, { answerer, databaseUrl: first.databaseUrl })
  // What the worker would have written before it died
  await heir.app.pg.query('update demo_approvals set approved = true where approval_id = $1', [approval?.['approvalId']])
  await heir.app.pg.query('update demo_answers set plan = plan || $2::json[], producer = $3 where message_id = $1',
    [messageId, ['{"type":"answer","answer":"Done."}'], supervisor.self.producer])
  t.same(await heir.findOrphans([]), [supervisor.self.producer])
  t.same(await heir.findOrphans([supervisor.self.producer]), [])
  await heir.adopt([supervisor.self.producer])
  const more = await allFramesOf(await fetch(addressOf(heir.url, asked), { headers: { cookie, 'last-event-id': String(frames.length - 1) } }))
  t.equal(textOf(more), 'Done.')
  await heir.adopt([supervisor.self.producer])
})

test('an answer of a live model cannot be gone on with, and ends with a durable error that says so', async (t) => {
  const supervisor = loneSupervisor()
  const first = await startDemo(t, {
    supervisor,
    answerer: live(async function * (_prompt, signal) {
      yield 'half'
      await once(signal, 'abort')
      throw new Error('a model that is cut off')
    })
  })
  const asked = await ask(first.url, { prompt: 'one' })
  await next(framesOf(asked), 1)
  await first.app.close()

  const heir = await startDemo(t, { answerer, databaseUrl: first.databaseUrl })
  await heir.adopt([supervisor.self.producer])
  const frames = await allFramesOf(await fetch(addressOf(heir.url, asked), { headers: { cookie: cookieOf(asked) } }))
  t.match(eventsOf(frames), [{ type: 'answer', answer: 'half' }, { type: 'error', error: /^The server stopped in the middle of this answer/ }])
  await eventually(async () => (await heir.findOrphans([])).length === 0)
})

test('an answer that was stopped is not gone on with', async (t) => {
  const supervisor = loneSupervisor()
  const first = await startDemo(t, { answerer, supervisor, tokensPerSecond: 1 })
  const asked = await ask(first.url, { prompt: 'the white whale' })
  const cookie = cookieOf(asked)
  const frames = framesOf(asked)
  await next(frames, 1)
  t.equal((await fetch(addressOf(first.url, asked).replace('/events', '/stop'), { method: 'POST', headers: { cookie } })).status, 202)
  t.match(await next(frames, 1), [/"reason":"stopped"/])
  await first.app.close()

  const heir = await startDemo(t, { answerer, databaseUrl: first.databaseUrl })
  await heir.adopt([supervisor.self.producer])
  t.equal((await allFramesOf(await fetch(addressOf(heir.url, asked), { headers: { cookie } }))).length, 2)
  t.same(await heir.findOrphans([]), [])
})
