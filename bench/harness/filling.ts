import type { Bench } from './bench.js'
import { setNumbers, type Filling } from './tables.js'
import { END_PAYLOAD, END_TYPE, EVENT_TYPE, messageIdSql, payloadSql, USER_ID } from './workload.js'

/**
 * Rows as the contenders would have written them, message by message, by the server itself; then on disk, and known to the planner. The zero
 * makes the messages the outer loop.
 */
export async function fill (bench: Pick<Bench, 'query'>, filling: Filling): Promise<void> {
  const { first = 0, messages, rows, finished } = filling
  await bench.query(`
    insert into messages (message_id, user_id, status)
    select ${messageIdSql('n')}, $1, $2 from generate_series($3::int, $4::int) n`,
  [USER_ID, finished ? 'complete' : 'streaming', first, first + messages - 1])
  await bench.query(`
    insert into message_events (message_id, sequence_no, event_type, payload)
    select id, n, case when n = $1 then '${END_TYPE}' else '${EVENT_TYPE}' end,
      (case when n = $1 then '${JSON.stringify(END_PAYLOAD)}' else ${payloadSql('id', 'n')} end)::json
    from generate_series($2::int, $3::int) message, lateral (select ${messageIdSql('message')} as id) ids, lateral generate_series(0, $4::int - 1 + 0 * message) n`,
  [finished ? rows - 1 : -1, first, first + messages - 1, rows])
  await setNumbers(bench.query, filling)
  await bench.query('vacuum analyze messages, message_events')
  await bench.query('checkpoint')
}
