import t from 'tap'
import { createMessageId, resumeMessage, streamMessage, type MessageEnd } from '../../client/index.js'
import { ask, eventsOf, eventually, upTo } from '../helper/journal.js'
import { headers, startChat, watch, type Seen } from './chat.js'
import { gate } from '../helper/gate.js'
import { cutsOf, startCuttingProxy } from './cutting-proxy.js'

const ANSWER = ['Häuser 😀\ud83d', '\ude00\r\n']

async function produce ({ record }: { record: (type: string, payload: object) => Promise<boolean> }): Promise<void> {
  for (const answer of ANSWER) await record('answer', { type: 'answer', answer })
}

const EVENTS = [...ANSWER.map((answer, no) => [{ type: 'answer', answer }, String(no)]), [{ type: 'end' }, String(ANSWER.length)]]

/** Whether a reader got what is right, said in one line: there are hundreds of them. */
function verdict ({ events }: Seen, end: MessageEnd): string {
  return JSON.stringify({ events, end })
}

const RIGHT = JSON.stringify({ events: EVENTS, end: { status: 'complete', lastEventId: String(ANSWER.length), event: { type: 'end' } } })

t.test('a POST that is cut at any byte of its answer, and then the reconnects too: each event once, and one run', async (t) => {
  const { url, databaseUrl, produced } = await startChat(t, { produce })
  const proxy = await startCuttingProxy(t, url)

  async function stream (...cuts: number[]): Promise<string> {
    const seen = watch()
    await proxy.cutAfter(...cuts)
    return verdict(seen, await streamMessage({ url: `${proxy.url}/api/chat`, headers, backoffMs: [0], ...seen }))
  }

  t.equal(await stream(), RIGHT)
  const cuts = cutsOf(proxy.passed)
  t.ok(cuts.length > 150, `${cuts.length} cuts`)
  const wrong: Array<[number, string]> = []
  for (const cut of cuts) {
    const got = await stream(...Array.from({ length: 1 + cut % 3 }, () => cut))
    if (got !== RIGHT) wrong.push([cut, got])
  }
  t.strictSame(wrong, [])
  t.equal(produced.length, cuts.length + 1)
  t.equal(new Set(produced).size, produced.length)
  t.strictSame(await ask(databaseUrl, 'select count(*)::int from message_events'), [{ count: produced.length * EVENTS.length }])
})

t.test('a message that is resumed over connections that are cut at any byte', async (t) => {
  const { url, chat } = await startChat(t, { produce })
  const proxy = await startCuttingProxy(t, url)
  const messageId = createMessageId()
  await streamMessage({ url: chat, messageId, headers, onEvent () {} })

  async function resume (...cuts: number[]): Promise<string> {
    const seen = watch()
    await proxy.cutAfter(...cuts)
    return verdict(seen, await resumeMessage({ url: `${proxy.url}/api/messages/${messageId}/events`, headers, backoffMs: [0], ...seen }))
  }

  t.equal(await resume(), RIGHT)
  const cuts = cutsOf(proxy.passed)
  const wrong: Array<[number, string]> = []
  for (const cut of cuts) {
    const got = await resume(cut, cut)
    if (got !== RIGHT) wrong.push([cut, got])
  }
  t.strictSame(wrong, [])
  t.ok(proxy.taken > 2 * cuts.length, `${proxy.taken} connections`)
})

for (const repeated of [303, 409] as const) {
  t.test(`a POST that the server turns out to have already (${repeated}) is resumed, not run twice`, async (t) => {
    const { chat, produced, asked } = await startChat(t, { produce, repeated })
    const messageId = createMessageId()
    const first = watch()
    t.equal(verdict(first, await streamMessage({ url: chat, messageId, headers, ...first })), RIGHT)
    const second = watch()
    t.equal(verdict(second, await streamMessage({ url: chat, messageId, headers, ...second })), RIGHT)
    t.strictSame(produced, [messageId])
    t.equal(asked.length, 2)
  })
}

t.test('a POST that never reached the server is sent again, with its id', async (t) => {
  const { url, asked, produced } = await startChat(t, { produce })
  const proxy = await startCuttingProxy(t, url)
  await proxy.cutAfter(-1, -1)
  const seen = watch()
  t.equal(verdict(seen, await streamMessage({ url: `${proxy.url}/api/chat`, body: { prompt: 'hi' }, headers, backoffMs: [0], ...seen })), RIGHT)
  t.equal(proxy.taken, 3) // the POST, the question, the question again and then the POST again
  t.equal(produced.length, 1)
  t.match(asked, [{ prompt: 'hi', messageId: produced[0] }])
})

t.test('a POST that is still on its way when its client asks for it, and is sent again, runs once', async (t) => {
  const late = gate()
  const { url, databaseUrl, produced, asked, refused } = await startChat(t, {
    produce,
    before: async () => { if (asked.length === 1) await late.opened }
  })
  const proxy = await startCuttingProxy(t, url)
  const seen = watch()
  const messageId = createMessageId()
  const done = streamMessage({ url: `${proxy.url}/api/chat`, messageId, headers, backoffMs: [0], ...seen })
  await eventually(() => asked.length === 1)
  proxy.cut()
  t.equal(verdict(seen, await done), RIGHT)
  late.open()
  await eventually(() => refused.length === 1)
  t.strictSame(produced, [messageId])
  t.strictSame((await eventsOf(databaseUrl, messageId)).map(({ sequenceNo }) => String(sequenceNo)), upTo(EVENTS.length))
})

t.test('a first POST that wins after all: the second one finds it, and resumes', async (t) => {
  const gates = [gate(), gate()]
  const { url, produced, asked } = await startChat(t, {
    produce,
    before: async () => { await gates[asked.length - 1]?.opened }
  })
  const proxy = await startCuttingProxy(t, url)
  const seen = watch()
  const done = streamMessage({ url: `${proxy.url}/api/chat`, headers, backoffMs: [0], ...seen })
  await eventually(() => asked.length === 1)
  proxy.cut()
  await eventually(() => asked.length === 2)
  gates[0]?.open()
  await eventually(() => produced.length === 1)
  gates[1]?.open()
  t.equal(verdict(seen, await done), RIGHT)
  t.equal(produced.length, 1)
})
