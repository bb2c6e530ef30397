import t from 'tap'
import { eventually, has } from '../helper/journal.js'
import { connect, ids } from '../helper/sse.js'
import { publishMany, startUser } from '../helper/user.js'

t.test('thirty replays a minute; the next is 429 with Retry-After, and connects without a cursor are free', async (t) => {
  const reader = await startUser(t)
  const [first, second] = await publishMany(reader, 2)
  for (let n = 0; n < 30; n++) {
    const connection = await reader.open(first)
    await connection.until(has(1))
    connection.cut()
  }
  const refused = await reader.open(first)
  t.equal(refused.status, 429)
  const seconds = Number(refused.response.headers['retry-after'])
  t.ok(Number.isInteger(seconds) && seconds > 0 && seconds <= 67, `Retry-After: ${seconds}`)
  await refused.ended
  t.match(JSON.parse(refused.raw), { statusCode: 429, code: 'FST_JOURNAL_REPLAY_BUDGET' })
  const free = await reader.open()
  t.equal(free.status, 200)
  t.equal(reader.app.journal.stats().viewers, 1, 'the refused one left nothing')
  t.ok(await reader.app.redis.pttl(`user:${reader.user}:replays`) > 0)

  await reader.app.redis.del(`user:${reader.user}:replays`) // a minute later
  const back = await reader.open(first)
  await back.until(has(1))
  t.same(ids(back), [second])
})

t.test('a replay count without an end gets one', async (t) => {
  const reader = await startUser(t, { notifications: { maxReplaysPerUser: 2 } })
  await reader.app.redis.set(`user:${reader.user}:replays`, 7)
  t.equal((await reader.open('1-0')).status, 429)
  t.ok(await reader.app.redis.pttl(`user:${reader.user}:replays`) > 0)
  const any = await startUser(t, { notifications: { maxReplaysPerUser: 0 } })
  for (let n = 0; n < 40; n++) (await any.open('1-0')).cut()
  t.equal(await any.app.redis.exists(`user:${any.user}:replays`), 0)
})

t.test('a replay count that Redis cannot keep lets the reader in', async (t) => {
  const reader = await startUser(t)
  await reader.app.redis.set(`user:${reader.user}:replays`, 'no number')
  const [first, second] = await publishMany(reader, 2)
  const connection = await reader.open(first)
  await connection.until(has(1))
  t.same(ids(connection), [second])
  t.match(reader.lines.find(({ msg }) => msg.includes('could not count a user\'s replays')), { level: 40 })
})

t.test('the two routes share a user\'s slots', async (t) => {
  const reader = await startUser(t, { maxConnectionsPerUser: 2 })
  const message = await reader.app.journal.openMessage({ userId: reader.user })
  const ofMessage = await connect(t, `${reader.url}/api/messages/${message.messageId}/events`, { user: reader.user })
  const own = await reader.open()
  t.same([ofMessage.status, own.status], [200, 200])
  const refused = await reader.open()
  t.equal(refused.status, 429)
  t.match(refused.response.headers, { 'retry-after': /^\d+$/ })
  ofMessage.cut()
  await eventually(async () => {
    const again = await reader.open()
    return again.status === 200
  })
})
