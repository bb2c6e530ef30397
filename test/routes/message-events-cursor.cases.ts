import type { OutgoingHttpHeaders } from 'node:http'
import t, { type Test } from 'tap'
import { startApp } from '../helper/app.js'
import { makeMessage } from '../helper/journal.js'
import { connect, ids } from '../helper/sse.js'

const { app, url, databaseUrl } = await startApp(t)

/** A message with the events 0, 1, 2; the last is its `end`, and `status` what its row says. Unless `leased`, another program's. */
async function createMessage (status: 'streaming' | 'complete' | 'failed' | 'stopped', leased = false): Promise<string> {
  const messageId = leased ? (await app.journal.openMessage({ userId: 'ada' })).messageId : await makeMessage(databaseUrl)
  await app.pg.query(`insert into message_events (message_id, sequence_no, event_type)
    values ($1, 0, 'answer'), ($1, 1, 'answer'), ($1, 2, 'end')`, [messageId])
  await app.pg.query('update messages set status = $2 where message_id = $1', [messageId, status])
  return `${url}/api/messages/${messageId}/events`
}

async function replay (t: Test, path: string, headers: OutgoingHttpHeaders = {}): Promise<Array<string | undefined>> {
  const reader = await connect(t, path, { headers })
  await reader.ended
  t.equal(reader.status, 200)
  return ids(reader)
}

const ALL = ['0', '1', '2']

t.test('without a cursor everything is replayed', async (t) => {
  t.same(await replay(t, await createMessage('complete')), ALL)
  t.same(await replay(t, await createMessage('streaming')), ALL)
})

t.test('the events past the cursor are replayed, be it in the header or in the query', async (t) => {
  for (const path of [await createMessage('complete'), await createMessage('streaming')]) {
    t.same(await replay(t, path, { 'last-event-id': '0' }), ['1', '2'])
    t.same(await replay(t, path, { 'last-event-id': '1' }), ['2'])
    t.same(await replay(t, `${path}?last_event_id=0`), ['1', '2'])
    t.same(await replay(t, path, { 'last-event-id': '001' }), ['2'])
  }
})

t.test('the header wins over the query, also when it is no cursor', async (t) => {
  const path = await createMessage('complete')
  t.same(await replay(t, `${path}?last_event_id=0`, { 'last-event-id': '1' }), ['2'])
  t.same(await replay(t, `${path}?last_event_id=1`, { 'last-event-id': '0' }), ['1', '2'])
  t.same(await replay(t, `${path}?last_event_id=1`, { 'last-event-id': 'x' }), ALL)
  t.same(await replay(t, `${path}?last_event_id=1`, { 'last-event-id': '' }), ['2'], 'an empty header is none')
})

t.test('anything but digits counts as no cursor', async (t) => {
  const path = await createMessage('complete')
  for (const cursor of ['-1', '+1', '1.5', '1e0', '0x1', 'abc', '1 2', '1,1', 'NaN', 'null', 'true']) {
    t.same(await replay(t, path, { 'last-event-id': cursor }), ALL, `header ${cursor}`)
    t.same(await replay(t, `${path}?last_event_id=${encodeURIComponent(cursor)}`), ALL, `query ${cursor}`)
  }
  for (const query of ['', '%00', '%0A1', '%D9%A1', '1%20']) t.same(await replay(t, `${path}?last_event_id=${query}`), ALL, `query ${query}`)
})

t.test('a repeated header and a repeated query count as no cursor', async (t) => {
  const path = await createMessage('complete')
  t.same(await replay(t, path, { 'last-event-id': ['0', '1'] }), ALL)
  t.same(await replay(t, `${path}?last_event_id=0&last_event_id=1`), ALL)
  t.same(await replay(t, `${path}?last_event_id[]=1`), ALL)
})

t.test('a cursor past the newest row of a message that is streaming cannot be ours: everything is replayed', async (t) => {
  const path = await createMessage('streaming')
  for (const cursor of ['3', '2147483647', '2147483648', '99999999999999999999', '9'.repeat(400)]) {
    t.same(await replay(t, path, { 'last-event-id': cursor }), ALL, cursor.slice(0, 20))
  }
})

t.test('a cursor up to the message\'s last number stays where it is: what stood there was lost with a server, and nothing comes there again', async (t) => {
  const path = await createMessage('streaming', true) // with a lease, so that the event of type `end` ends nothing
  const messageId = path.split('/').at(-2) ?? ''
  await app.pg.query('update messages set last_no = 9 where message_id = $1', [messageId])
  const readers = await Promise.all(['5', '9', '10'].map(async (cursor) => await connect(t, path, { headers: { 'last-event-id': cursor } })))
  t.equal(await app.journal.recordEvent(messageId, 3, 'end'), true)
  await app.pg.query('update messages set status = \'complete\' where message_id = $1', [messageId])
  await Promise.all(readers.map(({ ended }) => ended))
  t.same(readers.map(ids), [['10'], ['10'], [...ALL, '10']])
})

t.test('a cursor at or past the newest row of a finished message has everything: 204 without a body', async (t) => {
  for (const status of ['complete', 'failed', 'stopped'] as const) {
    const path = await createMessage(status)
    for (const cursor of ['2', '3', '2147483648', '99999999999999999999', '9'.repeat(400)]) {
      const reader = await connect(t, path, { headers: { 'last-event-id': cursor } })
      await reader.ended
      t.equal(reader.status, 204)
      t.equal(reader.raw, '')
      t.notHas(reader.response.headers, { 'content-type': /./ })
    }
    const reader = await connect(t, `${path}?last_event_id=2`)
    t.equal(reader.status, 204, 'also in the query')
    t.same(await replay(t, path, { 'last-event-id': '1' }), ['2'], 'and not before')
  }
  t.equal(app.journal.stats().viewers, 0)
})

t.test('a finished message that has no event at all is 204 to who has a cursor', async (t) => {
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
  await app.pg.query('update messages set status = \'complete\' where message_id = $1', [messageId])
  t.equal((await connect(t, `${url}/api/messages/${messageId}/events`, { headers: { 'last-event-id': '0' } })).status, 204)
})

t.test('a cursor at the newest row of a message that is streaming waits for the next, be that row an end or not', async (t) => {
  for (const newest of [2, 3]) {
    const path = await createMessage('streaming', newest === 2)
    const messageId = path.split('/').at(-2) ?? ''
    if (newest === 3) await app.journal.recordEvent(messageId, 3, 'answer')
    const reader = await connect(t, path, { headers: { 'last-event-id': String(newest) } })
    await app.journal.recordEvent(messageId, newest + 1, 'end')
    if (newest === 2) await app.pg.query('update messages set status = \'complete\' where message_id = $1', [messageId])
    await reader.ended
    t.same(ids(reader), [String(newest + 1)])
  }
})

t.test('a cursor at an end that nothing follows has everything, if the message has no lease: 204', async (t) => {
  for (const [leased, status] of [[false, 204], [true, 200]] as const) {
    const reader = await connect(t, await createMessage('streaming', leased), { headers: { 'last-event-id': '2' } })
    t.equal(reader.status, status)
  }
})

t.test('a cursor at the newest row of a finished message that has no terminal event waits for that', async (t) => {
  const path = await createMessage('complete')
  await app.pg.query('delete from message_events where message_id = $1 and sequence_no = 2', [path.split('/').at(-2)])
  const reader = await connect(t, path, { headers: { 'last-event-id': '1' } })
  await reader.ended
  t.equal(reader.status, 200)
  t.same(ids(reader), ['3'])
})

t.test('on a message that is streaming and has no event yet, any cursor waits for the first', async (t) => {
  for (const cursor of [undefined, '0', '7', 'x']) {
    const messageId = await makeMessage(databaseUrl)
    const reader = await connect(t, `${url}/api/messages/${messageId}/events`, { headers: cursor === undefined ? {} : { 'last-event-id': cursor } })
    await app.journal.recordEvent(messageId, 0, 'end')
    await reader.ended
    t.same(ids(reader), ['0'], cursor ?? 'none')
  }
})
