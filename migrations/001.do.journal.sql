-- The journal's tables, in the first schema of the search_path. Safe to run again. Tables of these names that are
-- already there are adopted only when the journal can work with them; otherwise nothing is created and the error says
-- what is wrong with which.

do $$
declare
  wrong text;
begin
  with expected (table_name, primary_key, columns) as (
    values
      ('messages', '{message_id}'::name[], array [
        'message_id uuid', 'user_id text', 'status text', 'error text', 'epoch integer',
        'heartbeat_at timestamp with time zone', 'created_at timestamp with time zone']),
      ('message_events', '{message_id,sequence_no}'::name[], array [
        'message_id uuid', 'sequence_no integer', 'event_type text', 'payload json',
        'created_at timestamp with time zone'])
  ),
  -- A table, a view, anything that holds the name.
  present as (
    select expected.*, class.oid
    from expected join pg_catalog.pg_class class on class.relname = table_name
    where class.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = current_schema())
  ),
  present_column as (
    select attrelid, attnum, attname, attname || ' ' || format_type(atttypid, null) as definition, attnotnull, atthasdef, attidentity
    from pg_catalog.pg_attribute where attnum > 0 and not attisdropped
  ),
  problem as (
    select table_name, 'has no column ' || wanted as what
    from present, unnest(columns) wanted
    where not exists (select from present_column where attrelid = oid and definition = wanted)
    union all
    -- The journal names these three whenever it writes; every other column must be able to do without.
    select table_name, 'needs a value for ' || attname
    from present join present_column on attrelid = oid
    where attnotnull and not atthasdef and attidentity = '' and attname <> all ('{message_id,sequence_no,event_type}')
    union all
    select table_name, 'has another primary key than (' || array_to_string(primary_key, ', ') || ')'
    from present
    where not exists (
      select from pg_catalog.pg_index
      where indrelid = oid and indisprimary and primary_key = array(
        select attname from unnest(indkey) with ordinality as key (number, place)
        join present_column on attrelid = indrelid and attnum = number order by place)
    )
  )
  select string_agg(format('%I.%I %s', current_schema(), table_name, what), '; ') into wrong from problem;

  if wrong is not null then
    raise exception 'a table of the journal''s name is there already and is not the journal''s: %', wrong
      using errcode = 'duplicate_table', hint = 'Give the journal a schema of its own.';
  end if;
end
$$;

create table if not exists messages (
  message_id uuid primary key,
  user_id text,
  status text not null default 'streaming'
    constraint messages_status_check check (status in ('streaming', 'complete', 'failed', 'stopped')),
  error text,
  epoch integer not null default 0,
  heartbeat_at timestamptz,
  created_at timestamptz not null default now()
);

comment on column messages.epoch is 'the fence: goes up with every new producer, and only the newest may write';
comment on column messages.heartbeat_at is 'when the producer last showed life; null: there never was a lease';

-- Finds the messages whose producer died without reading those that are finished or never had a producer.
create index if not exists messages_heartbeat_at_idx on messages (heartbeat_at)
  where status = 'streaming' and heartbeat_at is not null;

-- payload is json and not jsonb: the text that was stored is the text that is replayed, byte by byte.
create table if not exists message_events (
  message_id uuid not null references messages (message_id) on delete cascade,
  sequence_no integer not null constraint message_events_sequence_no_check check (sequence_no >= 0),
  event_type text not null,
  payload json not null default '{}',
  created_at timestamptz not null default now(),
  primary key (message_id, sequence_no)
);

create index if not exists message_events_created_at_idx on message_events (created_at);
