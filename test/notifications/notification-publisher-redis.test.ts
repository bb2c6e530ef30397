import { test } from 'tap'
import { hurryTimers } from '../helper/clock.js'
import { eventually } from '../helper/journal.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'
import { freeze, ownRedis, thaw } from '../helper/servers.js'
import { startTcpProxy } from '../helper/tcp-proxy.js'
import { hear, startPublishing, watch } from '../helper/user-publisher.js'
import { takeClock } from '../helper/writing.js'

const NOT_PUBLISHED = 'journal: a notification was not published'
const HOUR_MS = 3_600_000
/** How long a publish waits for its answer. */
const TIMEOUT_MS = 5_000
/** So many may wait for it. */
const MAX_UNANSWERED = 10_000

test('a Redis that is away is one line and null, at once; when it is back, the next one is published', async (t) => {
  const server = await ownRedis(t)
  const { publish, redis, user, lines, entries } = await startPublishing(t, {}, server.url)
  const elapse = takeClock(t)
  await server.kill()
  await eventually(() => redis.status !== 'ready')

  t.same(await Promise.all([publish(user, 'any'), publish(user, 'any')]), [null, null])
  t.match(lines, [{ level: 40, msg: NOT_PUBLISHED, userId: user, type: 'any', err: { message: /^Redis is (?!ready)/ } }])
  elapse(1_000)
  t.equal(await publish(user, 'other'), null)
  t.match(lines[1], { type: 'other', suppressed: 1 })

  await server.start()
  await eventually(() => redis.status === 'ready')
  const id = await publish(user, 'after')
  t.match(await entries(), [{ id, envelope: /"type":"after"/ }])
})

test('a frozen Redis is null after the timeout; what it was sent is added all the same, and is not announced', NEEDS_REAL_REDIS, async (t) => {
  const server = await ownRedis(t)
  const publishing = await startPublishing(t, {}, server.url)
  const { publish, user, lines, entries } = publishing
  const heard = await hear(t, publishing)
  const calm = hurryTimers(t, TIMEOUT_MS, 30)
  freeze(server)

  t.same(await Promise.all([publish(user, 'any'), publish(user, 'any')]), [null, null])
  t.match(lines, [{ level: 40, msg: NOT_PUBLISHED, err: { message: 'Redis gave no answer within 5000 ms' } }])

  calm()
  thaw(server)
  await eventually(async () => (await entries()).length === 2)
  const id = await publish(user, 'after')
  await heard.until(1)
  t.equal((await entries()).at(-1)?.id, id)
  t.match(heard.texts, [/"type":"after"/])
  t.equal(lines.length, 1)
})

test('past so many without an answer a notification is refused at once, until they have theirs', NEEDS_REAL_REDIS, async (t) => {
  const server = await ownRedis(t)
  const { publish, user, lines, redis, key } = await startPublishing(t, { streamMaxEntries: 100_000 }, server.url)
  const elapse = takeClock(t)
  hurryTimers(t, TIMEOUT_MS, 60_000) // a busy machine must not run out of it
  for (let round = 1; round <= 2; round++) {
    freeze(server)
    const waiting = Promise.all(Array.from({ length: MAX_UNANSWERED }, () => publish(user, 'any')))
    await null // they are sent together at the end of the turn
    const refused = await Promise.race([publish(user, 'late'), waiting])
    t.equal(refused, null)
    t.match(lines, [...Array(round - 1).fill({}), { level: 40, msg: NOT_PUBLISHED, type: 'late', reason: '10000 notifications are waiting for Redis already' }])
    thaw(server)
    t.equal(new Set(await waiting).size, MAX_UNANSWERED)
    t.equal(await redis.xlen(key), MAX_UNANSWERED * round)
    elapse(1_000)
  }
})

test('a connection that is cut with its answers costs nothing; what Redis had executed is in the stream twice', NEEDS_REAL_REDIS, async (t) => {
  const server = await ownRedis(t)
  const proxy = await startTcpProxy(t, server.url)
  const { publish, user, lines, entries, redis } = await startPublishing(t, {}, proxy.url)
  await publish(user, 'before')
  proxy.set('toClient', 'drop')
  const lost = proxy.untilDropped('toClient')
  const cut = publish(user, 'cut')
  await lost
  proxy.cut()
  proxy.set('toClient', 'flow')

  const id = await cut
  t.type(id, 'string')
  await eventually(() => redis.status === 'ready')
  const stored = await entries()
  t.match(stored.map(({ envelope }) => JSON.parse(envelope).type), ['before', 'cut', 'cut'])
  t.equal(stored[1]?.envelope, stored[2]?.envelope)
  t.equal(stored[2]?.id, id)
  t.same(lines.filter(({ msg }) => msg === NOT_PUBLISHED), [])
})

test('a notification that Redis refuses is null, and costs its neighbours nothing', async (t) => {
  const { publish, user, redis, lines, entries } = await startPublishing(t)
  await redis.set(`user:${user}:x:stream`, 'no stream')

  const [before, refused, after] = await Promise.all([publish(user, 'any'), publish(`${user}:x`, 'any'), publish(user, 'any')])

  t.equal(refused, null)
  t.match(lines, [{ level: 40, msg: NOT_PUBLISHED, userId: `${user}:x`, err: { message: /WRONGTYPE/ } }])
  t.same((await entries()).map(({ id }) => id), [before, after])
})

test('nothing is announced that Redis refused to add; what it refuses to announce is added', NEEDS_REAL_REDIS, async (t) => {
  const server = await ownRedis(t)
  const publishing = await startPublishing(t, {}, server.url)
  const { publish, user, redis, lines, entries } = publishing
  const heard = await hear(t, publishing)
  const commands = await watch(t, publishing)

  await redis.acl('SETUSER', 'default', '-xadd')
  t.equal(await publish(user, 'refused'), null)
  t.match(lines, [{ level: 40, msg: NOT_PUBLISHED, err: { message: /NOPERM/ } }])
  await commands.flushed()
  t.notOk(commands.names.includes('PUBLISH'))
  await redis.acl('SETUSER', 'default', '+xadd', '-publish', '-pexpire')
  const id = await publish(user, 'silent')
  t.match(await entries(), [{ id, envelope: /"type":"silent"/ }])
  await eventually(() => lines.length === 2)
  t.match(lines[1], { level: 40, msg: /^journal: a publish failed/, err: { message: /NOPERM/ } })
  await redis.acl('SETUSER', 'default', '+publish')
  await publish(user, 'heard')
  await heard.until(1)
  t.match(heard.texts, [/"type":"heard"/])
})

test('a stream ends an hour after its newest entry is too old; the end is put off twice an hour', async (t) => {
  const { publish, user, redis, key } = await startPublishing(t, { replayMaxAgeHours: 2 })
  const elapse = takeClock(t)
  const left = async () => await redis.pttl(key)
  const full = (ms: number) => ms <= 3 * HOUR_MS && ms > 3 * HOUR_MS - 60_000
  await Promise.all([publish(user, 'any'), publish(user, 'any')])
  t.ok(full(await left()))
  await redis.pexpire(key, 60_000)
  elapse(HOUR_MS / 2 - 1)
  await publish(user, 'any')
  t.ok(await left() <= 60_000, 'not with each entry')
  elapse(1)
  await publish(user, 'any')
  t.ok(full(await left()))
})

test('replayMaxAgeHours 0: a stream has no end', async (t) => {
  const { publish, user, redis, key } = await startPublishing(t, { replayMaxAgeHours: 0 })
  await publish(user, 'any')
  t.equal(await redis.pttl(key), -1)
})

test('a stream that an outage took, or kept from getting its end, gets one when it is new', async (t) => {
  const server = await ownRedis(t)
  const { publish, user, redis, key } = await startPublishing(t, {}, server.url)
  await publish(user, 'any')
  await server.kill()
  await eventually(() => redis.status !== 'ready')
  t.equal(await publish(user, 'lost'), null)
  await server.start()
  await eventually(() => redis.status === 'ready')
  t.type(await publish(user, 'any'), 'string')
  t.ok(await redis.pttl(key) > HOUR_MS)
})

test('of more users than a process remembers, each has an end all the same', async (t) => {
  const server = await ownRedis(t)
  const { publish, redis } = await startPublishing(t, {}, server.url)
  const users = Array.from({ length: 10_001 }, (_, n) => String(n))
  for (let from = 0; from < users.length; from += 1_000) await Promise.all(users.slice(from, from + 1_000).map((user) => publish(user, 'any')))
  const left = await Promise.all(users.map((user) => redis.pttl(`user:${user}:stream`)))
  t.ok(left.every((ms) => ms > HOUR_MS))
  await redis.persist('user:0:stream')
  await publish('0', 'any')
  t.ok(await redis.pttl('user:0:stream') > 0, 'the first is forgotten, and has its end put off again')
})
