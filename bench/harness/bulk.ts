import pg from 'pg'
import { type Filling, setNumbers, withoutTriggers } from './tables.js'
import { EVENT_TYPE, END_PAYLOAD, END_TYPE, messageIdSql, payloadSql, USER_ID } from './workload.js'

/** A session's memory for building an index. */
const BUILD_MEMORY = '512MB'
const CONNECTIONS = 2

/**
 * Fills an empty journal with messages, as fast as the server can: without the indexes and keys of `message_events`, which are then
 * made again from their own definitions. Ends with the rows on disk and known to the planner.
 */
export async function fillInBulk (databaseUrl: string, filling: Omit<Filling, 'first'>): Promise<void> {
  const { messages, rows, finished } = filling
  const clients = await Promise.all(Array.from({ length: CONNECTIONS }, async () => {
    const client = new pg.Client({ connectionString: withoutTriggers(databaseUrl) })
    await client.connect()
    return client
  }))
  const [client] = clients
  if (client === undefined) throw new Error('no connection')
  await client.query(`insert into messages (message_id, user_id, status) select ${messageIdSql('n')}, $1, $2 from generate_series(0, $3::int - 1) n`, [USER_ID, finished ? 'complete' : 'streaming', messages])
  const restore = await dropIndexes(client)
  await Promise.all(clients.map(async (client, index) => {
    const from = Math.floor(messages * index / CONNECTIONS)
    const to = Math.floor(messages * (index + 1) / CONNECTIONS) - 1
    await client.query(insertRows(), [rows - 1, from, to, messages, finished])
  }))
  await client.query(`set maintenance_work_mem = '${BUILD_MEMORY}'`)
  for (const sql of restore) await client.query(sql)
  await setNumbers(async (sql, values) => (await client.query<pg.QueryResultRow>(sql, values)).rows, filling)
  await client.query('vacuum analyze messages, message_events')
  await client.query('checkpoint')
  for (const client of clients) await client.end()
}

/**
 * `$1`: the number of the last row, `$2` to `$3`: the messages, `$4`: how many there will be, `$5`: whether they have ended. They are a second apart, and each row a
 * millisecond. The zero makes the messages the outer loop: the rows of each stand together, whatever the planner thinks.
 */
function insertRows (): string {
  return `
    insert into message_events (message_id, sequence_no, event_type, payload, created_at)
    select id, n, case when $5 and n = $1 then '${END_TYPE}' else '${EVENT_TYPE}' end,
      (case when $5 and n = $1 then '${JSON.stringify(END_PAYLOAD)}' else ${payloadSql('id', 'n')} end)::json,
      now() + make_interval(secs => message - $4::int + n / 1000.0)
    from generate_series($2::int, $3::int) message, lateral (select ${messageIdSql('message')} as id) ids, lateral generate_series(0, $1::int + 0 * message) n`
}

/** Answers with the SQL that makes them again. */
async function dropIndexes (client: pg.Client): Promise<string[]> {
  const constraints = await client.query<{ drop: string, make: string }>(`
    select format('alter table message_events drop constraint %I', conname) as drop,
      format('alter table message_events add constraint %I %s', conname, pg_get_constraintdef(oid)) as make
    from pg_constraint where conrelid = 'message_events'::regclass and contype in ('p', 'f') order by contype desc`)
  const indexes = await client.query<{ drop: string, make: string }>(`
    select format('drop index %s', indexrelid::regclass) as drop, pg_get_indexdef(indexrelid) as make
    from pg_index where indrelid = 'message_events'::regclass and not indisprimary`)
  const all = [...constraints.rows, ...indexes.rows]
  for (const { drop } of all) await client.query(drop)
  return all.map(({ make }) => make)
}
