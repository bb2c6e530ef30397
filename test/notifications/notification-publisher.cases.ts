import { test } from 'tap'
import { eventually } from '../helper/journal.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'
import { hear, startPublishing, watch } from '../helper/user-publisher.js'
import { takeClock } from '../helper/writing.js'

const NOT_PUBLISHED = 'journal: a notification was not published'

test('an envelope has its fields in order and nothing else, and is announced with the id of its entry', async (t) => {
  const publishing = await startPublishing(t)
  const { publish, user, entries } = publishing
  const heard = await hear(t, publishing)
  const before = new Date().toISOString()

  const id = await publish(user, 'source.ingest', { b: [1, 'ä\n'], a: null }, { scope: { kind: 'source', id: '7' } })
  await heard.until(1)

  const [entry] = await entries()
  const ts = /"ts":"(.*?)"/.exec(entry?.envelope ?? '')?.[1] ?? ''
  t.match(ts, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  t.ok(ts >= before && ts <= new Date().toISOString())
  const fields = `"type":"source.ingest","ts":"${ts}","user_id":"${user}","topic":"user:${user}","scope":{"kind":"source","id":"7"},"payload":{"b":[1,"ä\\n"],"a":null}`
  t.strictSame(entry, { id, envelope: `{${fields}}` })
  t.strictSame(heard.texts, [`{${fields},"id":"${id}"}`])
  t.match(id, /^\d+-\d+$/)
})

test('whenever an envelope is heard, its entry is there, and every entry is heard', async (t) => {
  const publishing = await startPublishing(t)
  const { redis, key, publish, user } = publishing
  const heard = await hear(t, publishing)
  const looks: Array<Promise<string>> = []
  heard.onText = (text) => {
    const { id }: { id: string } = JSON.parse(text)
    looks.push(redis.xrange(key, id, id).then(([[, [, envelope = '']] = ['', []]]) => envelope.replace(/\}$/, `,"id":"${id}"}`)))
  }

  const published = [...await Promise.all(Array.from({ length: 50 }, (_, n) => publish(user, 'counted', { n })))]
  for (let n = 50; n < 60; n++) published.push(await publish(user, 'counted', { n }))
  await heard.until(60)

  t.strictSame(await Promise.all(looks), heard.texts)
  t.strictSame(heard.texts.map((text) => JSON.parse(text).id), published)
  t.strictSame(heard.texts.map((text) => JSON.parse(text).payload.n), Array.from({ length: 60 }, (_, n) => n), 'in the order of the calls')
})

test('the user may be a number or a bigint; payload and scope may be left out', async (t) => {
  const publishing = await startPublishing(t)
  for (const user of [9_007_199_254_740_993n, 42]) {
    await publishing.redis.del(`user:${user}:stream`)
    const id = await publishing.publish(user, 'any')
    const [[, [, envelope = '']] = ['', []]] = await publishing.redis.xrange(`user:${user}:stream`, id ?? '', id ?? '')
    t.match(envelope, new RegExp(`"user_id":"${user}","topic":"user:${user}","scope":\\{\\},"payload":\\{\\}\\}$`))
    await publishing.redis.del(`user:${user}:stream`)
  }
})

test('U+0000 is taken out of user, type, payload and scope', async (t) => {
  const { publish, user, entries } = await startPublishing(t)
  t.type(await publish(`${user}\0`, 'a\0b', { 'k\0ey': ['va\0lue', '\\u0000'] }, { scope: { '\0id': '\0' } }), 'string')
  const [entry] = await entries()
  t.match(JSON.parse(entry?.envelope ?? ''), { type: 'ab', user_id: user, topic: `user:${user}`, scope: { id: '' }, payload: { key: ['value', '\\u0000'] } })
})

test('half a surrogate pair is kept in payload and scope as its escape, and replaced in the type', async (t) => {
  const { publish, user, entries } = await startPublishing(t)
  await publish(user, 'a\ud83d', { half: '\ud83d' }, { scope: { half: '\udf89' } })
  const [entry] = await entries()
  t.match(entry?.envelope, /"type":"a\ufffd".*"scope":\{"half":"\\udf89"\},"payload":\{"half":"\\ud83d"\}\}$/)
})

test('a payload or a scope that is no plain object becomes {}', async (t) => {
  const { publish, user, entries, lines } = await startPublishing(t)
  const values = [null, 'text', 7, true, [1], new Date(), new Map(), () => {}, { toJSON: () => 'text' }]
  for (const value of values) {
    t.type(await Reflect.apply(publish, undefined, [user, 'any', value, { scope: value }]), 'string')
  }
  t.strictSame((await entries()).map(({ envelope }) => envelope.slice(envelope.indexOf('"scope"'))), values.map(() => '"scope":{},"payload":{}}'))
  t.strictSame(lines, [])
})

const cycle: Record<string, unknown> = {}
cycle.self = cycle
const thrower = { get broken (): never { throw new Error('on purpose') } }
const large = { text: 'x'.repeat(100) }

const refused: Array<[why: string, expected: object, arguments_: (user: string) => unknown[]]> = [
  ['an empty user', { reason: 'userId is empty' }, () => ['', 'any']],
  ['no user', { reason: 'userId is empty' }, () => []],
  ['a user of null', { reason: 'userId is empty' }, () => [null, 'any']],
  ['a user of nothing but U+0000', { reason: 'userId is empty' }, () => ['\0\0', 'any']],
  ['a user without a text', { err: { message: /^A user's id must be/ } }, () => [Object.create(null), 'any']],
  ['a user that is an object', { err: { message: /; got {"id":1}$/ } }, () => [{ id: 1 }, 'any']],
  ['a user whose text cannot be had', { err: { message: /^A user's id must be/ } }, () => [{ toString () { throw new Error('no') } }, 'any']],
  ['an empty type', { reason: 'type is empty' }, (user) => [user, '']],
  ['no type', { reason: 'type is empty' }, (user) => [user]],
  ['a type of nothing but U+0000', { reason: 'type is empty' }, (user) => [user, '\0']],
  ['a type that is no string', { reason: 'type is empty' }, (user) => [user, Symbol('any')]],
  ['a payload with a cycle', { err: { message: /^the payload cannot be serialised/ } }, (user) => [user, 'any', cycle]],
  ['a payload with a bigint', { err: { message: /^the payload cannot be serialised/ } }, (user) => [user, 'any', { n: 1n }]],
  ['a payload that throws', { err: { message: /^the payload cannot be serialised/ } }, (user) => [user, 'any', thrower]],
  ['a payload that is too large', { err: { message: /more than maxPayloadBytes \(64\)/ } }, (user) => [user, 'any', large]],
  ['a scope with a cycle', { err: { message: /^the payload cannot be serialised/ } }, (user) => [user, 'any', {}, { scope: cycle }]],
  ['options that throw', { err: { message: 'on purpose' } }, (user) => [user, 'any', {}, { get scope (): never { throw new Error('on purpose') } }]],
  ['a scope that is too large', { err: { message: /more than maxPayloadBytes \(64\)/ } }, (user) => [user, 'any', {}, { scope: large }]]
]

test('what cannot be published is one warning and null, and sends nothing', NEEDS_REAL_REDIS, async (t) => {
  const publishing = await startPublishing(t, { maxPayloadBytes: 64 })
  const { publish, user, lines } = publishing
  const commands = await watch(t, publishing)
  const elapse = takeClock(t)
  for (const [why, expected, argumentsOf] of refused) {
    await t.test(why, async (t) => {
      elapse(1_000)
      const before = lines.length
      t.equal(await Reflect.apply(publish, undefined, argumentsOf(user)), null)
      t.equal(lines.length - before, 1)
      t.match(lines.at(-1), { level: 40, msg: NOT_PUBLISHED, ...expected })
    })
  }
  await commands.flushed()
  t.strictSame(commands.names, [])
  t.match(lines.at(-1), { userId: user, type: 'any' })
  t.type(await publish(user, 'any', { text: 'x'.repeat(51) }), 'string', 'the largest that may be')
  t.type(await Reflect.apply(publish, undefined, [user, 'any', {}, null]), 'string', 'options of null are none')
})

test('a thousand notifications of one turn are one trip and two writes', NEEDS_REAL_REDIS, async (t) => {
  const proxy = await startTcpProxy(t, process.env.TEST_REDIS_URL ?? '')
  const publishing = await startPublishing(t, { streamMaxEntries: 10_000 }, proxy.url)
  const direct = await startPublishing(t)
  const { publish, user, key, redis } = publishing
  const commands = await watch(t, { redis: direct.redis, user })
  const heard = await hear(t, { redis: direct.redis, user })
  await publish(user, 'first') // so that the stream's end is put off already
  await heard.until(1)

  proxy.set('toClient', 'stall') // nothing that is sent from here on can be an answer to an answer
  let writes = 0
  const write = redis.stream.write.bind(redis.stream)
  t.intercept(redis.stream, 'write', { value: (...chunk: Parameters<typeof write>) => { writes++; return write(...chunk) } })
  const published = Promise.all(Array.from({ length: 1_000 }, (_, n) => publish(user, 'counted', { n })))
  await eventually(async () => await direct.redis.xlen(key) === 1_001)
  t.equal(writes, 1)
  proxy.set('toClient', 'flow')
  const ids = await published
  await heard.until(1_001)

  t.equal(writes, 2)
  t.strictSame(heard.texts.slice(1).map((text) => JSON.parse(text).id), ids)
  await commands.flushed()
  const sent = commands.names.filter((name) => ['XADD', 'PUBLISH'].includes(name))
  t.strictSame(sent.slice(2), [...Array<string>(1_000).fill('XADD'), ...Array<string>(1_000).fill('PUBLISH')])
})

test('a stream keeps about as many entries as it may', async (t) => {
  const { publish, user, redis, key } = await startPublishing(t, { streamMaxEntries: 50 })
  const ids = await Promise.all(Array.from({ length: 2_000 }, (_, n) => publish(user, 'counted', { n })))
  const length = await redis.xlen(key)
  t.ok(length >= 50 && length <= 150, `${length} entries; a node of a stream has 100 at most`)
  t.strictSame((await redis.xrevrange(key, '+', '-', 'COUNT', 50)).map(([id]) => id), ids.slice(-50).reverse())
})

test('notifications: false sends nothing, and says nothing', NEEDS_REAL_REDIS, async (t) => {
  const publishing = await startPublishing(t, { notifications: false })
  const commands = await watch(t, publishing)
  t.equal(await publishing.publish(publishing.user, 'any'), null)
  t.equal(await publishing.publish('', ''), null)
  await commands.flushed()
  t.strictSame(commands.names, [])
  t.strictSame(publishing.lines, [])
})
