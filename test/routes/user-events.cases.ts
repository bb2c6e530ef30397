import t from 'tap'
import { eventually, has } from '../helper/journal.js'
import { connect, ids, type Connection } from '../helper/sse.js'
import { parsed, published, publishMany, startUser, streamKey, truncated } from '../helper/user.js'

t.test('without a cursor a reader gets what comes, and nothing that was', async (t) => {
  const reader = await startUser(t)
  await reader.publish('old')
  const connection = await reader.open()
  t.equal(connection.status, 200)
  t.match(connection.response.headers, { 'content-type': 'text/event-stream', 'cache-control': 'no-store, no-transform', 'x-accel-buffering': 'no' })
  await connection.until(({ comments }) => comments[0] === 'connected')
  const id = await reader.publish('new', { answer: 42 })
  await connection.until(has(1))
  t.match(parsed(connection), [{
    type: 'new', ts: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, user_id: reader.user, topic: `user:${reader.user}`, scope: {}, payload: { answer: 42 }, id
  }])
  t.same(Object.keys(parsed(connection)[0]), ['type', 'ts', 'user_id', 'topic', 'scope', 'payload', 'id'])
  t.same(ids(connection), [id])
})

t.test('with a cursor the backlog past it comes first, then what follows, in order and once', async (t) => {
  const reader = await startUser(t)
  const backlog = await publishMany(reader, 120) // more than a page
  const connection = await reader.open(backlog[9])
  await connection.until(has(110))
  const live = await publishMany(reader, 30)
  await connection.until(has(140))
  t.same(ids(connection), [...backlog.slice(10), ...live])
})

t.test('the cursor may be in the query, and the header wins', async (t) => {
  const reader = await startUser(t)
  const backlog = await publishMany(reader, 3)
  const byQuery = await connect(t, `${reader.url}/api/events?last_event_id=${backlog[0]}`, { user: reader.user })
  await byQuery.until(has(2))
  t.same(ids(byQuery), backlog.slice(1))
  const byHeader = await connect(t, `${reader.url}/api/events?last_event_id=${backlog[0]}`, { user: reader.user, headers: { 'last-event-id': backlog[1] } })
  await byHeader.until(has(1))
  t.same(ids(byHeader), backlog.slice(2))
})

t.test('an event is the same bytes live and replayed', async (t) => {
  const reader = await startUser(t)
  const before = await reader.publish('first')
  const live = await reader.open(before)
  await reader.publish('text', { text: 'line\r\nbreak 🎉 \ud83d', nothing: null })
  await live.until(has(1))
  const replayed = await reader.open(before)
  await replayed.until(has(1))
  const frameOf = ({ raw }: Connection) => raw.slice(raw.indexOf('data:'))
  t.equal(frameOf(replayed), frameOf(live))
})

t.test('a cursor that is no id is told so, and what is kept is replayed', async (t) => {
  const reader = await startUser(t)
  const kept = await publishMany(reader, 3)
  for (const cursor of ['1-', '-5', '1-2-3', '9'.repeat(40), `${2n ** 64n}-0`, 'abc', '0x1-0', '1.5', '1-1-', '$', '(1-0', '+', '-']) {
    const connection = await reader.open(cursor)
    t.equal(connection.status, 200, cursor)
    await connection.until(has(4))
    const [notice, ...events] = connection.events
    t.same(JSON.parse(notice?.data ?? ''), truncated(kept[0]))
    t.equal(notice?.id, undefined)
    t.same(events.map(({ id }) => id), kept)
    connection.cut()
  }
})

t.test('a cursor without its second number is one all the same', async (t) => {
  const reader = await startUser(t)
  await publishMany(reader, 2)
  const connection = await reader.open(String(Date.now() + 60_000))
  await connection.until(has(1)) // no id of this stream, however it is read
  t.match(parsed(connection), [{ type: 'backlog.truncated' }])
  connection.cut()
  const [, second] = await publishMany(reader, 2)
  const known = await reader.open(`000${second}`)
  const next = await reader.publish('next')
  await known.until(has(1))
  t.same(ids(known), [next])
})

t.test('a cursor in the future does not pin the reader: it is told, and goes on with what comes', async (t) => {
  const reader = await startUser(t)
  const [oldest] = await publishMany(reader, 2)
  const connection = await reader.open('99999999999999-0')
  await connection.until(has(1))
  t.same(parsed(connection), [truncated(oldest)])
  const id = await reader.publish('next')
  await connection.until(has(2))
  t.same(ids(connection), [undefined, id])
})

t.test('a reader whose cursor was trimmed away is told, and gets what is kept', async (t) => {
  const reader = await startUser(t)
  const backlog = await publishMany(reader, 20)
  await reader.app.redis.xtrim(streamKey(reader), 'MINID', backlog[10] ?? '')
  const connection = await reader.open(backlog[3])
  await connection.until(has(11))
  t.same(parsed(connection)[0], truncated(backlog[10]))
  t.same(ids(connection), [undefined, ...backlog.slice(10)])
  const known = await reader.open(backlog[10])
  await known.until(has(9))
  t.same(ids(known), backlog.slice(11), 'the oldest that is kept is a cursor like any other')
})

t.test('an entry that was deleted on its own is no reason for a notice', async (t) => {
  const reader = await startUser(t)
  const backlog = await publishMany(reader, 4)
  await reader.app.redis.xdel(streamKey(reader), backlog[1] ?? '')
  const connection = await reader.open(backlog[1])
  await connection.until(has(2))
  t.same(ids(connection), backlog.slice(2))
})

t.test('a user without a stream: a cursor is told that nothing is kept, and what comes is delivered', async (t) => {
  const reader = await startUser(t)
  const fresh = await reader.open()
  const returning = await reader.open('5-0')
  await returning.until(has(1))
  t.same(parsed(returning), [truncated(null)])
  const id = await reader.publish('first')
  await Promise.all([fresh.until(has(1)), returning.until(has(2))])
  t.same(ids(fresh), [id])
  t.same(ids(returning), [undefined, id])
})

t.test('a response replays so many and ends; the cursor brings the reader back for the rest, without a hole', async (t) => {
  for (const replayMaxPerRequest of [7, 120]) {
    const reader = await startUser(t, { notifications: { replayMaxPerRequest } })
    const backlog = await publishMany(reader, 250)
    const got: string[] = []
    let responses = 0
    for (let cursor = backlog[0]; got.length < 249; cursor = got.at(-1)) {
      const connection = await reader.open(cursor)
      responses++
      if (backlog.length === 250) backlog.push(await reader.publish('live')) // while most of it is not replayed yet
      await Promise.race([connection.ended, connection.until(({ events }) => events.at(-1)?.id === backlog.at(-1))])
      t.ok(connection.events.length <= replayMaxPerRequest, `${connection.events.length} of at most ${replayMaxPerRequest}`)
      got.push(...connection.events.map(({ id }) => id ?? ''))
      connection.cut()
      if (responses % 20 === 0) await reader.app.redis.del(`user:${reader.user}:replays`)
    }
    t.same(got, backlog.slice(1, got.length + 1))
  }
})

t.test('a reader that has caught up stays, however much comes', async (t) => {
  const reader = await startUser(t, { notifications: { replayMaxPerRequest: 5 } })
  const [first] = await publishMany(reader, 3)
  const connection = await reader.open(first)
  await connection.until(has(2))
  const live = await publishMany(reader, 60)
  await connection.until(has(62))
  t.same(ids(connection).slice(2), live)
})

t.test('what is too old is not replayed, and the reader is told', async (t) => {
  const reader = await startUser(t, { notifications: { replayMaxAgeHours: 1 } })
  const key = streamKey(reader)
  const now = Date.now()
  const old = [3, 2].map((hours) => `${now - hours * 3_600_000}-0`)
  for (const id of old) await reader.app.redis.xadd(key, id, 'event', '{"type":"old"}')
  const recent = await publishMany(reader, 2)
  const behind = await reader.open(old[0])
  await behind.until(has(3))
  t.same(parsed(behind)[0], truncated(recent[0]))
  t.same(ids(behind), [undefined, ...recent])
  const nothingMissed = await reader.open(old[1])
  await nothingMissed.until(has(2))
  t.same(ids(nothingMissed), recent, 'an old cursor that missed nothing old')

  const all = await startUser(t, { notifications: { replayMaxAgeHours: 0 } })
  for (const id of old) await all.app.redis.xadd(streamKey(all), id, 'event', '{"type":"old"}')
  const everything = await all.open(old[0])
  await everything.until(has(1))
  t.same(ids(everything), [old[1]])
})

t.test('nobody has no notifications: 401, also where everyone may read every message', async (t) => {
  for (const options of [{ identify: () => null }, { identify: false as const }]) {
    const reader = await startUser(t, options)
    const connection = await reader.open()
    t.equal(connection.status, 401)
    await connection.ended
    t.match(JSON.parse(connection.raw), { code: 'FST_JOURNAL_UNAUTHENTICATED' })
  }
})

t.test('users get their own notifications and no others', async (t) => {
  const reader = await startUser(t)
  const other = await connect(t, `${reader.url}/api/events`, { user: `${reader.user}:stream` })
  const own = await reader.open()
  const id = await reader.publish('mine')
  const others = await published(reader.app.journal.publishUserEvent, `${reader.user}:stream`, 'theirs')
  await Promise.all([own.until(has(1)), other.until(has(1))])
  t.same([ids(own), ids(other)], [[id], [others]])
})

t.test('notifications: false: the route says so and ends, and nothing is published', async (t) => {
  const reader = await startUser(t, { notifications: false })
  const connection = await reader.open('1-0')
  t.equal(connection.status, 200)
  await connection.ended
  t.same(connection.comments, ['connected', 'push_disabled'])
  t.same(connection.events, [])
  t.equal(await reader.app.journal.publishUserEvent(reader.user, 'any'), null)
  t.equal(await reader.app.redis.exists(streamKey(reader)), 0)
  t.equal((await connect(t, `${reader.url}/api/events`, { user: '' })).status, 401)
})

t.test('envelopes that announce no id, a wrong one or one that is not there, change nothing', async (t) => {
  const reader = await startUser(t)
  const connection = await reader.open()
  const first = await reader.publish('first')
  await connection.until(has(1))
  for (const id of ['1-', '-5', '1-2-3', '9'.repeat(40), '99999999999999-0', '18446744073709551615-18446744073709551615', '', null, 7, {}]) {
    await reader.app.redis.publish(`user:${reader.user}`, JSON.stringify({ type: 'bogus', id }))
  }
  for (const text of ['', '[]', '{', 'null', '\0']) await reader.app.redis.publish(`user:${reader.user}`, text)
  const second = await reader.publish('second')
  await connection.until(has(2))
  t.same(ids(connection), [first, second])
  t.equal(reader.lines.filter(({ level }) => level > 40).length, 0)
})

t.test('entries of other programs: without an envelope they are passed over, with any text they are valid SSE', async (t) => {
  const reader = await startUser(t, { eventNames: true })
  const key = streamKey(reader)
  const first = await reader.publish('first')
  for (let n = 0; n < 60; n++) await reader.app.redis.xadd(key, '*', 'event2', 'x', 'other', 'event') // more than a page of them
  const pretty = await reader.app.redis.xadd(key, '*', 'other', 'x', 'event', '{\n  "type": "pretty"\n}')
  const text = await reader.app.redis.xadd(key, '*', 'event', 'no JSON\rid: 1-1')
  const empty = await reader.app.redis.xadd(key, '*', 'event', '{}')
  const connection = await reader.open(first)
  await connection.until(has(3))
  t.same(ids(connection), [pretty, text, empty])
  t.same(connection.events.map(({ event }) => event), ['pretty', undefined, undefined])
  t.same(JSON.parse(connection.events[0]?.data ?? ''), { type: 'pretty', id: pretty })
  t.same(connection.events.slice(1).map(({ data }) => data), ['no JSON\nid: 1-1', '{}'])
})

t.test('eventNames: true gives the notice a name too', async (t) => {
  const reader = await startUser(t, { eventNames: true })
  const connection = await reader.open('5-0')
  await connection.until(has(1))
  t.equal(connection.events[0]?.event, 'backlog.truncated')
})

t.test('an idle reader gets keepalives, and its subscription goes with it', async (t) => {
  const reader = await startUser(t, { keepaliveMs: 50 })
  const connection = await reader.open()
  await connection.until(({ comments }) => comments.filter((comment) => comment === 'keepalive').length >= 2)
  t.match(reader.app.journal.stats(), { viewers: 1, topics: 1 })
  connection.cut()
  await eventually(() => reader.app.journal.stats().topics === 0)
})

t.test('app.close() ends the reader with a retry and nothing else', async (t) => {
  const reader = await startUser(t)
  const connection = await reader.open()
  await connection.until(({ retries }) => retries.length === 1)
  await reader.app.close()
  await connection.ended
  t.equal(connection.retries.length, 2)
  t.same(connection.events, [])
})
