import { randomUUID } from 'node:crypto'
import pg from 'pg'
import t from 'tap'
import { startApp, USER_HEADER } from './helper/app.js'

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
