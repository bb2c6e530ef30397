import { createHash } from 'node:crypto'

/**
 * The journal's SQL. Each statement is prepared once per connection under a name of its own, as
 * https://node-postgres.com/features/queries#prepared-statements describes.
 */
export interface Statement {
  name: string
  text: string
}

export type JournalStatements = Record<'append' | 'appendAndFinish' | 'findTaken' | 'readPage' | 'findMessage' | 'findLatest' | 'openMessage', Statement>

/** `schema`: where the tables are; without it, the connection's search_path decides. */
export function createStatements (schema: string | undefined): JournalStatements {
  const prefix = schema === undefined ? '' : `"${schema.replaceAll('"', '""')}".`
  const messages = `${prefix}messages`
  const events = `${prefix}message_events`

  const texts: Record<keyof JournalStatements, string> = {
    append: append(messages, events, false),
    appendAndFinish: append(messages, events, true),

    // For each wanted place: what stands there, if anything does, and where that message's journal ends.
    findTaken: `
      select wanted.message_id, wanted.sequence_no, e.event_type, e.payload, newest.sequence_no
      from unnest($1::uuid[], $2::int[]) as wanted (message_id, sequence_no)
      cross join lateral (
        select max(sequence_no) as sequence_no from ${events} where message_id = wanted.message_id
      ) newest
      left join ${events} e on e.message_id = wanted.message_id and e.sequence_no = wanted.sequence_no
      where newest.sequence_no is not null`,

    // pg_column_size is the stored size: it is known without reading a large payload back from its TOAST table.
    readPage: `
      select sequence_no, event_type, payload
      from (
        select sequence_no, event_type, payload, pg_column_size(payload) as size,
          sum(pg_column_size(payload)) over (order by sequence_no rows unbounded preceding) as total
        from (
          select sequence_no, event_type, payload from ${events}
          where message_id = $1 and sequence_no > $2 order by sequence_no limit $3
        ) nearest
      ) measured
      where total - size < $4
      order by sequence_no`,

    findMessage: `
      select m.user_id, m.status, (extract(epoch from m.created_at) * 1000)::bigint,
        last.sequence_no, last.event_type, last.payload
      from ${messages} m
      left join lateral (
        select sequence_no, event_type, payload from ${events} e
        where e.message_id = m.message_id order by sequence_no desc limit 1
      ) last on true
      where m.message_id = $1`,

    findLatest: `select max(sequence_no) from ${events} where message_id = $1`,

    openMessage: `
      insert into ${messages} as m (message_id, user_id, status, epoch, heartbeat_at)
      values ($1, $2, 'streaming', 1, now())
      on conflict (message_id) do update
        set status = 'streaming', error = null, epoch = m.epoch + 1, heartbeat_at = now()
        where m.user_id is not distinct from excluded.user_id
      returning epoch`
  }
  const entries = Object.entries(texts).map(([name, text]) => [name, { name: statementName(name, text), text }])
  return Object.fromEntries(entries) as JournalStatements // the keys are those of `texts`
}

/** Unique per text: two schemas, or two versions behind one connection pooler, never meet under one name. */
function statementName (name: string, text: string): string {
  return `fmj_${name}_${createHash('sha256').update(text).digest('hex').slice(0, 12)}`
}

/**
 * One INSERT for a batch of events of any messages. The messages' rows are locked FOR SHARE first, which is what
 * makes the fence strict: `openMessage`, which moves the epoch, waits for a batch that holds the lock, and a batch
 * that waits for `openMessage` sees the new epoch when it goes on. FOR KEY SHARE, which the foreign key takes
 * anyway, would not do: it neither waits for a change of the epoch nor sees it.
 * (https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-ROWS)
 *
 * The payloads travel as one text, a line each: JSON as JSON.stringify writes it has no line breaks, and nothing
 * needs to be quoted. The answer has a row per refused event: its place in the batch, and the epoch it should have had.
 */
function append (messages: string, events: string, finish: boolean): string {
  const finishColumns = finish ? ', $7::text[], $8::text[]' : ''
  const finishNames = finish ? ', status, error' : ''
  const finished = `,
      finished as (
        update ${messages} m set status = a.status, error = a.error
        from accepted a where a.status is not null and m.message_id = a.message_id
      )`
  return `
      with owner as materialized (
        select message_id, epoch from ${messages} where message_id = any($6::uuid[]) order by message_id for share
      ),
      event as materialized (
        select * from unnest($1::uuid[], $2::int[], $3::text[], string_to_array($4, E'\\n'), $5::int[]${finishColumns})
          with ordinality as e (message_id, sequence_no, event_type, payload, epoch${finishNames}, place)
      ),
      accepted as (
        select e.* from event e join owner o on o.message_id = e.message_id and (e.epoch is null or e.epoch = o.epoch)
      ),
      inserted as (
        insert into ${events} (message_id, sequence_no, event_type, payload)
        select message_id, sequence_no, event_type, payload::json from accepted order by place
      )${finish ? finished : ''}
      select e.place, o.epoch from event e left join owner o on o.message_id = e.message_id
      where o.message_id is null or e.epoch <> o.epoch
      order by e.place`
}
