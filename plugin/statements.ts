import { createHash } from 'node:crypto'

/**
 * The journal's SQL. Each statement is prepared once per connection under a name of its own, as
 * https://node-postgres.com/features/queries#prepared-statements describes.
 */
export interface Statement {
  name: string
  text: string
}

export type StatementName =
  'append' | 'appendAndFinish' | 'appendOne' | 'findRefusal' | 'raiseFloor' | 'findTaken' | 'readFrames' | 'readFramesInParts' | 'readPage' | 'findMessage' | 'findLatest' | 'openMessage' |
  'heartbeat' | 'inspect' | 'finish' | 'deleteEvents' | 'deleteMessages'

export type JournalStatements = Record<StatementName, Statement>

/** SQL without parameters that locks these messages' rows against all other writers and then gives their newest numbers. */
export type LockMessages = (messageIds: readonly string[]) => string

/**
 * How long a writer waits for a message's row, in ms: less than its client waits. A statement that is left waiting would
 * write its events when the row is free, long after their caller was told that they are not recorded.
 */
export function lockTimeout (writeRetryMs: number): number {
  return Math.min(2_000, Math.ceil(writeRetryMs / 2))
}

/** The same for a statement that is a transaction by itself; true. It holds for what the statement locks from then on. */
function isPatient (lockTimeoutMs: number): string {
  return `set_config('lock_timeout', '${lockTimeoutMs}', true) is not null`
}

/**
 * The ids must be canonical UUIDs: they stand in the text. Statements of their own, since the last must see what the
 * one before waited for.
 */
export function createLockMessages (schema: string | undefined, lockTimeoutMs: number): LockMessages {
  const { messages, events } = tableNames(schema)
  return (messageIds) => {
    const ids = messageIds.map((messageId) => `'${messageId}'`).join(',')
    return `
      set local lock_timeout = ${lockTimeoutMs};
      select from ${messages} where message_id in (${ids}) order by message_id for no key update;
      select message_id, max(sequence_no) from ${events} where message_id in (${ids}) group by message_id`
  }
}

function tableNames (schema: string | undefined): { messages: string, events: string } {
  const prefix = schema === undefined ? '' : `"${schema.replaceAll('"', '""')}".`
  return { messages: `${prefix}messages`, events: `${prefix}message_events` }
}

/** How many messages of dead producers, with nobody reading them, are taken on in one go. */
const MAX_ORPHANS = 100

/** `schema`: where the tables are; without it, the connection's search_path decides. */
export function createStatements (schema: string | undefined, lockTimeoutMs: number): JournalStatements {
  const { messages, events } = tableNames(schema)
  const texts: Record<StatementName, string> = {
    append: append(messages, events, lockTimeoutMs, false),
    appendAndFinish: append(messages, events, lockTimeoutMs, true),
    // For a single event, which needs no arrays: one that finds its lane idle is not made to pay for company. Refused, it
    // is a row less.
    appendOne: `
      insert into ${events} (message_id, sequence_no, event_type, payload)
      select $1, $2, $3, $4 from ${messages}
      where message_id = $1 and ($5::int is null or (epoch = $5 and sequence_floor < $2)) and ${isPatient(lockTimeoutMs)}
      for share`,
    findRefusal: `select ${refusal('epoch', '$2', 'status')} from ${messages} where message_id = $1`,

    // Numbers that the app chose have left a hole in a message that has a lease: its allotted numbers must not fill it.
    raiseFloor: `
      update ${messages} m set sequence_floor = raised.sequence_no
      from unnest($1::uuid[], $2::int[]) as raised (message_id, sequence_no)
      where m.message_id = raised.message_id and m.epoch > 0 and m.sequence_floor < raised.sequence_no`,

    // For each wanted place: what stands there, if anything does, and where that message's journal ends.
    findTaken: `
      select wanted.message_id, wanted.sequence_no, e.event_type, e.payload, newest.sequence_no
      from unnest($1::uuid[], $2::int[]) as wanted (message_id, sequence_no)
      cross join lateral (
        select max(sequence_no) as sequence_no from ${events} where message_id = wanted.message_id
      ) newest
      left join ${events} e on e.message_id = wanted.message_id and e.sequence_no = wanted.sequence_no
      where newest.sequence_no is not null`,

    readFrames: frames(events, false),
    readFramesInParts: frames(events, true),

    readPage: `
      select sequence_no, event_type, payload
      from (
        select *, sum(size) over (order by sequence_no rows unbounded preceding) - size as before
        from (select *, ${SIZE} as size from (${nearest(events)}) row) measured
      ) page
      where before < $4
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
        set status = 'streaming', error = null, epoch = m.epoch + 1, sequence_floor = -1, heartbeat_at = now()
        where m.user_id is not distinct from excluded.user_id and $3
      returning epoch`,

    // In the order of their ids, so that two statements over many messages never wait for each other in a circle.
    heartbeat: `
      with owner as materialized (
        select message_id, epoch, status from ${messages} where message_id = any($1::uuid[]) order by message_id for no key update
      ),
      held as (
        select message_id from unnest($1::uuid[], $2::int[]) as lease (message_id, epoch) join owner using (message_id, epoch)
      ),
      beaten as (
        update ${messages} m set heartbeat_at = now() - make_interval(secs => $3::float8 / 1000)
        from held where m.message_id = held.message_id
      )
      select message_id, ${refusal('owner.epoch', 'lease.epoch', 'status')}
      from unnest($1::uuid[], $2::int[]) as lease (message_id, epoch) left join owner using (message_id)
      where owner.epoch is distinct from lease.epoch`,

    // Only the messages that there is something to say of: the answer is empty while all is well. Behind those that are
    // read here come some that are not, whose producer has been dead for as long again: there is no hurry, and somebody
    // may go on with them. An index has these, and nothing else.
    inspect: `
      (select known.message_id, m.status, newest.sequence_no, m.heartbeat_at < stale.since
      from unnest($1::uuid[], $2::int[]) as known (message_id, sequence_no)
      cross join (select now() - make_interval(secs => $3::float8 / 1000) as since) stale
      left join ${messages} m on m.message_id = known.message_id
      cross join lateral (
        select max(sequence_no) as sequence_no from ${events} where message_id = known.message_id
      ) newest
      where m.message_id is null or m.status <> 'streaming' or newest.sequence_no > known.sequence_no or m.heartbeat_at < stale.since)
      union all
      (select message_id, status, null, true
      from ${messages}
      where status = 'streaming' and heartbeat_at < now() - 2 * make_interval(secs => $3::float8 / 1000) and message_id <> all ($1::uuid[])
      limit ${MAX_ORPHANS})`,

    // The new epoch fences the producer. The message's row must be locked before: a snapshot older than that could miss
    // an event that was under way, and the terminal event would stand before it.
    finish: `
      with newest as (
        select coalesce(max(sequence_no), -1) as sequence_no from ${events} where message_id = $1
      ),
      finished as (
        update ${messages} m set status = $2, error = $3, epoch = m.epoch + 1
        where message_id = $1 and status = $4
          and ($5::float8 is null or heartbeat_at < now() - make_interval(secs => $5 / 1000))
          and ($6::int is null or $6 = (select sequence_no from newest))
        returning epoch
      ),
      inserted as (
        insert into ${events} (message_id, sequence_no, event_type, payload)
        select $1, newest.sequence_no + 1, $7, $8 from finished, newest
        returning sequence_no
      )
      select inserted.sequence_no, finished.epoch from inserted, finished`,

    // One process at a time: the others find the lock taken, and delete nothing.
    deleteEvents: `
      delete from ${events} where ctid = any (array (
        select ctid from ${events}
        where created_at < now() - make_interval(days => $1::int) and (select pg_try_advisory_xact_lock($2::bigint))
        limit $3
      ))`,

    deleteMessages: `
      delete from ${messages} where message_id = any (array (
        select message_id from ${messages} m
        where created_at < now() - make_interval(days => $1::int) and (select pg_try_advisory_xact_lock($2::bigint))
          and coalesce(heartbeat_at, created_at) < now() - make_interval(days => $1::int)
          and not exists (select from ${events} e where e.message_id = m.message_id)
        limit $3
      ))`
  }
  const entries = Object.entries(texts).map(([name, text]) => [name, { name: statementName(name, text), text }])
  return Object.fromEntries(entries) as JournalStatements // the keys are those of `texts`
}

/**
 * A payload's stored size, which is known without reading it back from its TOAST table; how long a compressed one is
 * Postgres does not tell, and it counts eight times.
 */
const SIZE = 'pg_column_size(payload) * case when pg_column_compression(payload) is null then 1 else 8 end'

/** Below 2 KiB, and so neither in the TOAST table nor, unless compressed, longer than it looks. */
const IS_SMALL = 'pg_column_size(payload) < 2048 and pg_column_compression(payload) is null'

/**
 * The frames of all rows as one text, as a row by itself costs this process most; or, in parts, of up to $5 rows each,
 * since a text as long as a large page costs it memory. To make parts of a small page costs Postgres a tenth more.
 *
 * Line breaks within a payload stay as they are. A carriage return stands for a large payload, which bounds the text: a
 * page with one in it is read row by row.
 */
function frames (events: string, inParts: boolean): string {
  return `
      select count(*), max(sequence_no),
        (select event_type from ${events} where message_id = $1 and sequence_no = max(page.sequence_no)),
        string_agg(case when ${IS_SMALL} then
          case when $4::boolean then 'event: ' || event_type || E'\\n' else '' end
            || 'data: ' || payload::text || E'\\nid: ' || sequence_no || E'\\n\\n' else E'\\r' end, '')
      from (${inParts ? `select *, sequence_no / $5::int as part from (${nearest(events)}) row order by part, sequence_no` : nearest(events)}) page
      ${inParts ? 'group by part order by part' : 'having count(*) > 0'}`
}

function nearest (events: string): string {
  return `select sequence_no, event_type, payload from ${events} where message_id = $1 and sequence_no > $2 order by sequence_no limit $3`
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
 * `$5` to `$7` are the batch's writers, one for each message and epoch, with the first of its numbers. One that may not
 * write is in the answer, with its place, and then nothing of the batch is written: nearly always all of them may, and
 * to sort the events out here would cost each batch a fifth of its time.
 *
 * The payloads travel as one text, a line each: JSON as JSON.stringify writes it has no line breaks, and nothing
 * needs to be quoted.
 */
function append (messages: string, events: string, lockTimeoutMs: number, finish: boolean): string {
  const finished = `,
      finished as (
        update ${messages} m set status = f.status, error = f.error
        from unnest($8::uuid[], $9::text[], $10::text[]) as f (message_id, status, error)
        where m.message_id = f.message_id and not exists (select from refused)
      )`
  return `
      with owner as materialized (
        select message_id, epoch, sequence_floor, status from ${messages} where message_id = any($5::uuid[]) and ${isPatient(lockTimeoutMs)} order by message_id for share
      ),
      refused as materialized (
        select writer.place, ${refusal('o.epoch', 'writer.epoch', 'o.status')} as refusal
        from unnest($5::uuid[], $6::int[], $7::int[]) with ordinality as writer (message_id, epoch, first_no, place)
        left join owner o on o.message_id = writer.message_id
        where o.message_id is null or o.epoch <> writer.epoch or o.sequence_floor >= writer.first_no
      ),
      inserted as (
        insert into ${events} (message_id, sequence_no, event_type, payload)
        select message_id, sequence_no, event_type, payload::json
        from unnest($1::uuid[], $2::int[], $3::text[], string_to_array($4, E'\\n')) as event (message_id, sequence_no, event_type, payload)
        where not exists (select from refused)
      )${finish ? finished : ''}
      select place, refusal from refused`
}

/** Why a writer who was refused was: a `Refusal`, or `late`. */
function refusal (epoch: string, ofWriter: string, status: string): string {
  return `case when ${epoch} is null then 'missing' when ${epoch} = ${ofWriter} then 'late' when ${status} = 'stopped' then 'stopped' else 'fenced' end`
}
