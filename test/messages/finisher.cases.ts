import { randomUUID } from 'node:crypto'
import pg from 'pg'
import t from 'tap'
import { startApp, USER_HEADER } from '../helper/app.js'
import { gate } from '../helper/gate.js'
import { ask, eventsOf, has, makeMessage } from '../helper/journal.js'
import { connect, ids } from '../helper/sse.js'
import { beforeStatements } from '../helper/writing.js'

t.test('a stop comes behind an event that is being committed, whatever its number', async (t) => {
  const { url, databaseUrl } = await startApp(t)
  const messageId = randomUUID()
  const [writer, observer] = [new pg.Client(databaseUrl), new pg.Client(databaseUrl)]
  for (const client of [writer, observer]) {
    await client.connect()
    t.teardown(() => client.end())
  }
  await writer.query("insert into messages (message_id, user_id) values ($1, 'ada')", [messageId])

  await writer.query('begin')
  await writer.query('select from messages where message_id = $1 for no key update', [messageId])
  await writer.query("insert into message_events (message_id, sequence_no, event_type) values ($1, 9, 'answer')", [messageId])
  const stopped = fetch(`${url}/api/messages/${messageId}/stop`, { method: 'POST', headers: { [USER_HEADER]: 'ada' } })
  for (let waiting = 0; waiting === 0;) {
    const { rows } = await observer.query("select count(*)::int as waiting from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'")
    waiting = rows[0].waiting
  }
  await writer.query('commit')

  t.equal((await stopped).status, 202)
  const { rows } = await observer.query('select sequence_no, event_type from message_events where message_id = $1 order by sequence_no', [messageId])
  t.strictSame(rows, [{ sequence_no: 9, event_type: 'answer' }, { sequence_no: 10, event_type: 'end' }])
})

t.test('of two processes that write the terminal event that is missing, one does', async (t) => {
  const one = await startApp(t, { reconcileMs: 50 })
  const two = await startApp(t, { reconcileMs: 50, databaseUrl: one.databaseUrl, migrate: false })
  const messageId = await makeMessage(one.databaseUrl)
  await one.app.journal.recordEvent(messageId, 0, 'answer')
  const readers = await Promise.all([one, two].map(async ({ url }) => await connect(t, `${url}/api/messages/${messageId}/events`)))
  await Promise.all(readers.map((reader) => reader.until(has(1))))
  const both = gate()
  let arrived = 0
  for (const { app } of [one, two]) {
    beforeStatements(app, /inspect/, async () => {
      if (++arrived === 2) both.open()
      await both.opened // each is about to see that it is missing
    })
  }
  await ask(one.databaseUrl, 'update messages set status = \'complete\' where message_id = $1', [messageId])
  await Promise.all(readers.map(({ ended }) => ended))
  t.ok(arrived >= 2)
  t.same(readers.map(ids), [['0', '1'], ['0', '1']])
  t.equal((await eventsOf(one.databaseUrl, messageId)).length, 2)
})
