import { createHash } from 'node:crypto'
import type { Lease } from './rows.js'

/**
 * The journal's SQL. Each statement is prepared once per connection under a name of its own, as
 * https://node-postgres.com/features/queries#prepared-statements describes.
 */
export interface Statement {
  name: string
  text: string
}

/** The prepared statements. */
export type StatementName =
  'appendOne' | 'append' | 'appendSome' | 'fence' | 'findTaken' | 'readFrames' | 'readFramesInParts' | 'readPage' |
  'findMessage' | 'findLatest' | 'openMessage' | 'makeMessage' | 'deleteMessage' | 'lockOpened' | 'touch' |
  'inspect' | 'lookForDead' | 'end' | 'claim' | 'insertEnd' | 'renew' | 'deleteEvents' | 'lockOld' |
  'deleteMessages' | 'countMessages' | 'isCounted' | 'setCounted'

/** Each with a name that is unique to its text. */
export type JournalStatements = Record<StatementName, Statement>

/** SQL without parameters. The ids must be canonical UUIDs, and the numbers numbers: they stand in the text. */
export interface Scripts {
  /**
   * Locks the message's row, and answers with an empty result, the row, and its newest event. Three statements, because
   * each must see what the one before has waited for. `skip`: a locked row is not waited for, and not in the answer; a
   * locked table is an error.
   */
  lockMessage (messageId: string, skip: boolean): string
  /** Answers with an empty result, and with the messages whose row is not locked. A locked table is an error. */
  findFree (messageIds: readonly string[]): string
  /**
   * Renews the leases in `used` whose rows are not locked, and answers with their messages. The second result has the
   * lost ones of all `leases`, each with the reason. `epoch` 0: a message without a lease.
   */
  heartbeat (leases: readonly Lease[], used: readonly Lease[], agoMs: number, handOver: boolean): string
}

/** The names of the tables and functions, quoted, with their schema where there is one. */
export interface Tables {
  messages: string
  events: string
  state: string
  /** The name of a function of the journal. */
  fn (name: string): string
}

/** `schema`: where the tables are; without it, the connection's search_path decides. */
export function tablesOf (schema: string | undefined): Tables {
  const prefix = schema === undefined ? '' : `"${schema.replaceAll('"', '""')}".`
  return {
    messages: `${prefix}messages`,
    events: `${prefix}message_events`,
    state: `${prefix}journal_state`,
    fn: (
      name
    ) => prefix + name
  }
}

/** How many candidates of each kind one look returns. */
export const MAX_CANDIDATES = 100
/** Larger payloads of other programs are not searched for their type. */
const MAX_TERMINAL_BYTES = 2_000

/**
 * The epoch of a message's first lease. It is random, so that an older lease is void after the message was deleted and
 * created again under the same id.
 */
const FIRST_EPOCH = '1 + floor(random() * 1000000000)::integer'
const NEXT_EPOCH = `case m.epoch when 0 then ${FIRST_EPOCH} else m.epoch + 1 end`

/** Milliseconds since a time; below zero when the clock has been set back. */
const age = (time: string): string => `(extract(epoch from now() - ${time}) * 1000)::float8`

const interval = (ms: string): string => `make_interval(secs => ${ms}::float8 / 1000)`

/** The prepared statements for these tables. */
export function createStatements (tables: Tables): JournalStatements {
  const { messages, events, state, fn } = tables
  const texts: Record<StatementName, string> = {
    appendOne: `select ${fn('journal_append_one')}($1, $2, $3, $4, $5)`,
    append: `select ${fn('journal_append')}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
    appendSome: `select ${fn('journal_append_some')}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
    fence: `select ${fn('journal_fence')}($1, $2, $3, $4)`,

    // For each wanted number: the row there, if any, and the message's newest number.
    findTaken: `
      select wanted.message_id, wanted.sequence_no, e.event_type, e.payload, newest.sequence_no
      from unnest($1::uuid[], $2::int[]) as wanted (message_id, sequence_no)
      cross join lateral (
        select max(sequence_no) as sequence_no from ${events} where message_id = wanted.message_id
      ) newest
      left join ${events} e on e.message_id = wanted.message_id and e.sequence_no = wanted.sequence_no
      where newest.sequence_no is not null`,

    readFrames: frames(tables, false),
    readFramesInParts: frames(tables, true),

    readPage: `
      select sequence_no, event_type, payload, ${readState(messages)}
      from (
        select *, sum(size) over (order by sequence_no rows unbounded preceding) - size as before
        from (select *, ${SIZE} as size from (${nearest(events)}) row) measured
      ) page
      where before < $4
      order by sequence_no`,

    findMessage: `
      select m.user_id, m.status, (extract(epoch from m.created_at) * 1000)::bigint, m.epoch, m.ended_no, m.last_no,
        last.sequence_no, last.event_type, last.payload
      from ${messages} m
      left join lateral (
        select sequence_no, event_type, payload from ${events} e
        where e.message_id = m.message_id order by sequence_no desc limit 1
      ) last on true
      where m.message_id = $1`,

    findLatest: `select max(sequence_no) from ${events} where message_id = $1`,

    openMessage: `
      insert into ${messages} as m (message_id, user_id, status, epoch, heartbeat_at, touched_at, open_token)
      values ($1, $2, 'streaming', ${FIRST_EPOCH}, now(), now(), $4)
      on conflict (message_id) do update
        set status = 'streaming', error = null, epoch = ${NEXT_EPOCH}, heartbeat_at = now(), touched_at = now(),
          open_token = $4, handed_over = null
        where m.user_id is not distinct from excluded.user_id and ($3 or m.open_token = $4)
      returning epoch, last_no, extract(epoch from m.created_at), m.created_at = now()`,

    // Waits for a transaction that is creating the message. If there is neither, creates it.
    makeMessage: `insert into ${messages} (message_id) values ($1) on conflict do nothing`,

    deleteMessage: `delete from ${messages} where message_id = $1`,

    lockOpened: `select open_token from ${messages} where message_id = $1 for no key update`,

    touch: `
      update ${messages} set touched_at = now(), heartbeat_at = now()
      where message_id = $1 and epoch = $2 and status = 'streaming'`,

    // Only the messages with something new: the answer is empty while all is well.
    inspect: `
      select known.message_id, m.status, newest.sequence_no, m.ended_no
      from unnest($1::uuid[], $2::int[]) as known (message_id, sequence_no)
      left join ${messages} m on m.message_id = known.message_id
      cross join lateral (
        select max(sequence_no) as sequence_no from ${events} where message_id = known.message_id
      ) newest
      where m.message_id is null or m.status <> 'streaming' or newest.sequence_no > known.sequence_no`,

    // The database's time, and then, by three indexes: messages without a sign of life for $1 ms, or with one from the
    // future; the next messages after ($3, $4) that never had a heartbeat and are at least $2 ms old; and messages that
    // were handed over.
    lookForDead: `
      select null::uuid, (extract(epoch from now()) * 1000)::float8, null::float8, null::boolean, null::float8,
        null::text, null::text, null::float8, null::text
      union all
      (select message_id, null, ${age('heartbeat_at')}, handed_over is not null, null, null, null, null, null
      from ${messages} m ${newestOf(events)}
      where status = 'streaming' and heartbeat_at is not null
        and heartbeat_at < now() - ${interval('$1')}
        and (coalesce(newest.created_at, '-infinity') < now() - ${interval('$1')} or newest.created_at > now())
      order by heartbeat_at limit ${MAX_CANDIDATES})
      union all
      (select message_id, null, ${age('heartbeat_at')}, handed_over is not null, null, null, null, null, null
      from ${messages}
      where status = 'streaming' and heartbeat_at is not null and heartbeat_at > now()
      order by heartbeat_at limit ${MAX_CANDIDATES})
      union all
      (select message_id, null, null, false, ${age('m.created_at')}, newest.event_type,
        case when pg_column_size(newest.payload) < ${MAX_TERMINAL_BYTES} then newest.payload::text else '{}' end,
        ${age('newest.created_at')},
        (extract(epoch from m.created_at) * 1000000)::bigint || ' ' || message_id
      from ${messages} m ${newestOf(events)}
      where status = 'streaming' and heartbeat_at is null and m.created_at < now() - ${interval('$2')}
        and ($3::bigint is null
          or (m.created_at, message_id) > (timestamptz 'epoch' + $3 * interval '1 microsecond', $4::uuid))
      order by m.created_at, message_id limit ${MAX_CANDIDATES})
      union all
      (select message_id, null, ${age('heartbeat_at')}, true, null, null, null, null, null
      from ${messages}
      where status = 'streaming' and handed_over is not null
      order by handed_over limit ${MAX_CANDIDATES})`,

    end: `
      update ${messages} set status = $2, error = $3, epoch = epoch + case when epoch > 0 then $4::int else 0 end,
        ended_at = coalesce(ended_at, now()), ended_no = $5, last_no = greatest($5, last_no), handed_over = null
      where message_id = $1
      returning epoch`,

    // A statement of its own, because Postgres applies no rules to an INSERT within a WITH.
    insertEnd: `
      insert into ${events} (message_id, sequence_no, event_type, payload, ending) values ($1, $2, $3, $4, true)`,

    claim: `
      update ${messages} m set epoch = ${NEXT_EPOCH}, heartbeat_at = now(), touched_at = now(), handed_over = null
      where message_id = $1
      returning epoch`,

    renew: `update ${messages} set heartbeat_at = now() where message_id = $1`,

    // One process at a time deletes: the others find the advisory lock taken, and delete nothing.
    deleteEvents: `
      delete from ${events} where (message_id, sequence_no) in (
        select message_id, sequence_no from ${events}
        where created_at < now() - make_interval(days => $1::int) and (select pg_try_advisory_xact_lock($2::bigint))
        order by created_at limit $3
      )`,

    // Two statements, because a message may be opened, or get an event, between the look and the lock.
    lockOld: `
      select message_id from ${messages} m
      where ${isOld(events)} and (select pg_try_advisory_xact_lock($2::bigint))
      limit $3 for update skip locked`,

    deleteMessages: `delete from ${messages} m where ${isOld(events)} and message_id = any ($2::uuid[])`,

    // The next messages by id: the last id, how many need counting, and how many were counted.
    countMessages: `
      select (array_agg(message_id order by message_id desc))[1], count(*) filter (where last_no is null),
        ${fn('journal_count')}(coalesce(array_agg(message_id) filter (where last_no is null), '{}'))
      from (select message_id, last_no from ${messages} where message_id > $1 order by message_id limit $2) stretch`,

    isCounted: `select counted from ${state}`,

    setCounted: `update ${state} set counted = true`
  }
  const entries = Object.entries(texts).map(([name, text]) => [name, { name: statementName(name, text), text }])
  return Object.fromEntries(entries) as JournalStatements // the keys are those of `texts`
}

/** The scripts for these tables. */
export function createScripts ({ messages, events }: Tables): Scripts {
  // FOR UPDATE alone is compatible with table locks that keep producers from writing heartbeats
  const lockTable = (skip: boolean): string => `lock table ${messages} in row exclusive mode${skip ? ' nowait' : ''}`
  const idsOf = (messageIds: readonly string[]): string => messageIds.map((messageId) => `'${messageId}'`).join(',')
  return {
    lockMessage: (messageId, skip) => `
      ${lockTable(skip)};
      select status, epoch, last_no, ended_no, ${age('heartbeat_at')}, ${age('coalesce(touched_at, created_at)')},
        user_id, handed_over is not null, error, open_token, extract(epoch from created_at)
      from ${messages} where message_id = '${messageId}' for no key update${skip ? ' skip locked' : ''};
      select sequence_no, event_type, payload, ${age('created_at')}
      from ${events} where message_id = '${messageId}' order by sequence_no desc limit 1`,

    findFree: (messageIds) => `
      ${lockTable(true)};
      select message_id from ${messages} where message_id in (${idsOf(messageIds)}) for no key update skip locked`,

    heartbeat (leases, used, agoMs, handOver) {
      const renew = `
        with lease as (select * from ${rowsOf(used)}),
        held as materialized (
          select m.message_id from ${messages} m join lease using (message_id, epoch)
          where m.status = 'streaming' for no key update of m skip locked
        )
        update ${messages} m
        set heartbeat_at = now() - ${interval(String(agoMs))}${handOver ? ', handed_over = now()' : ''}
        from held where m.message_id = held.message_id
        returning m.message_id`
      return `
        ${used.length === 0 ? 'select null limit 0' : renew};
        with lease as (select * from ${rowsOf(leases)})
        select lease.message_id, case when m.message_id is null then 'missing' when m.status = 'stopped' then 'stopped'
          when m.epoch <> lease.epoch then 'fenced' else 'ended' end
        from lease left join ${messages} m on m.message_id = lease.message_id
        where m.epoch is distinct from lease.epoch or m.status <> 'streaming'`
    }
  }
}

function rowsOf (leases: readonly Lease[]): string {
  const ids = leases.map(({ messageId }) => messageId).join(',')
  const epochs = leases.map(({ epoch }) => epoch).join(',')
  return `unnest('{${ids}}'::uuid[], '{${epochs}}'::int[]) as row (message_id, epoch)`
}

/** The message's state in the snapshot of its rows: status, epoch, and the number of the event that ended it. */
function readState (messages: string): string {
  return `(select status || ' ' || epoch || ' ' || coalesce(ended_no::text, '') from ${messages} where message_id = $1)`
}

/**
 * A payload's stored size, which Postgres knows without reading its TOAST table. A compressed payload counts eight
 * times, because its length is unknown.
 */
const SIZE = 'pg_column_size(payload) * case when pg_column_compression(payload) is null then 1 else 8 end'

/** A payload below 2 KiB that is not compressed, and so not in the TOAST table. */
const IS_SMALL = 'pg_column_size(payload) < 2048 and pg_column_compression(payload) is null'

/**
 * The frames of all rows as one text, because a result row costs this process more than anything else. In parts: of up
 * to $5 rows each, because a text as long as a large page costs memory. For a small page, parts cost Postgres a tenth
 * more. Line breaks within a payload stay as they are. A carriage return stands for a large payload, which bounds the
 * text; such a page is read row by row.
 */
function frames ({ messages, events }: Tables, inParts: boolean): string {
  return `
      select count(*), max(sequence_no),
        (select event_type from ${events} where message_id = $1 and sequence_no = max(page.sequence_no)),
        string_agg(case when ${IS_SMALL} then
          case when $4::boolean then 'event: ' || event_type || E'\\n' else '' end
            || 'data: ' || payload::text || E'\\nid: ' || sequence_no || E'\\n\\n' else E'\\r' end, ''),
        ${readState(messages)}
      from (${inParts ? parted(events) : nearest(events)}) page
      ${inParts ? 'group by part order by part' : ''}`
}

/** Whether the message m is at least $1 days old, and has neither events nor a producer. */
function isOld (events: string): string {
  return `m.created_at < now() - make_interval(days => $1::int)
        and coalesce(m.heartbeat_at, m.created_at) < now() - make_interval(days => $1::int)
        and not exists (select from ${events} e where e.message_id = m.message_id)`
}

/** The newest event of the message m. */
function newestOf (events: string): string {
  return `left join lateral (
        select event_type, payload, created_at from ${events} e
        where e.message_id = m.message_id order by sequence_no desc limit 1
      ) newest on true`
}

function parted (events: string): string {
  return `select *, sequence_no / $5::int as part from (${nearest(events)}) row order by part, sequence_no`
}

function nearest (events: string): string {
  return `select sequence_no, event_type, payload from ${events}
        where message_id = $1 and sequence_no > $2 order by sequence_no limit $3`
}

/**
 * A name that is unique to the text, so that two schemas, or two versions, never share one behind a connection pooler.
 */
function statementName (name: string, text: string): string {
  return `fmj_${name}_${createHash('sha256').update(text).digest('hex').slice(0, 12)}`
}
