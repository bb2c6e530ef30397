-- Postgres decides. messages.last_no is the newest number of a message. Whoever inserts an event raises it, under the
-- message's row lock and in the same transaction: the library in journal_append, everybody else by the triggers below.

alter table messages
  add column if not exists last_no integer,
  add column if not exists ended_at timestamptz,
  add column if not exists ended_no integer,
  add column if not exists open_token uuid,
  add column if not exists touched_at timestamptz,
  add column if not exists handed_over timestamptz;

-- Existing rows keep null, which means: not counted yet. The first append counts, or the batches behind the migration do.
alter table messages alter column last_no set default -1;

comment on column messages.last_no is 'the newest sequence_no, or higher: the next event stands above it; null: not counted yet';
comment on column messages.ended_at is 'when the status left streaming';
comment on column messages.ended_no is 'the number of the event that ended the message; null: still to be written';
comment on column messages.open_token is 'identifies the transaction that opened the message last';
comment on column messages.touched_at is 'when the producer last opened the message, or said that it lives although it records nothing';
comment on column messages.handed_over is 'when a process that shut down gave the message up; null: it did not';

alter table message_events add column if not exists ending boolean;

comment on column message_events.ending is 'whether it is a terminal event; null: another program wrote it';

-- Finds what nobody keeps alive by heartbeats, and what a shutdown has given up, without reading the rest.
create index if not exists messages_unheard_idx on messages (created_at, message_id)
  where status = 'streaming' and heartbeat_at is null;
create index if not exists messages_handed_over_idx on messages (handed_over)
  where handed_over is not null;

-- One row. timeline: of the server that the journal was last written on; a failover begins another one.
-- counted: no message is left whose last_no is null.
create table if not exists journal_state (
  single boolean primary key default true constraint journal_state_single_check check (single),
  timeline text,
  counted boolean not null default false
);
insert into journal_state (counted) select not exists (select from messages) on conflict do nothing;

do $do$
declare
  home text := current_schema();
  -- Whether both tables are as 001 and 002 make them. Tables that were adopted, or are partitioned, keep their foreign key.
  ours boolean := (
    select count(*) = 2 and bool_and(relkind = 'r' and not relispartition and columns = array_to_string(case relname
        when 'messages' then '{message_id,user_id,status,error,epoch,heartbeat_at,created_at,sequence_floor,last_no,ended_at,ended_no,open_token,touched_at,handed_over}'::text[]
        else '{message_id,sequence_no,event_type,payload,created_at,ending}'::text[] end, ','))
    from pg_catalog.pg_class class
    cross join lateral (
      select string_agg(attname, ',' order by attnum) as columns
      from pg_catalog.pg_attribute where attrelid = class.oid and attnum > 0 and not attisdropped
    ) shape
    where relnamespace = (select oid from pg_catalog.pg_namespace where nspname = home) and relname in ('messages', 'message_events')
  ) and (
    select count(*) = 1 and bool_and(conname = 'message_events_message_id_fkey' and confdeltype = 'c')
    from pg_catalog.pg_constraint
    where conrelid = format('%I.message_events', home)::regclass and contype = 'f'
      and confrelid = format('%I.messages', home)::regclass
  );
  partitioned boolean := (select relkind <> 'r' from pg_catalog.pg_class where oid = format('%I.messages', home)::regclass);
begin
  -- Half of a page stays free, so that raising last_no touches no index.
  if not partitioned then
    execute format('alter table %I.messages set (fillfactor = 50)', home);
  end if;

  ---------------------------------------------------------------------------------------------------------------------
  -- Writers of other programs. These functions run with the rights of the tables' owner, and name every object and operator with its
  -- schema: no search_path can slip another one in. They set none, since triggers of the app's own on these tables run within them.
  ---------------------------------------------------------------------------------------------------------------------

  -- The message's row is locked before the event's is made: a writer that waits holds nothing that another waits for.
  -- The highest numbers stay free for what comes behind, such as the message's end.
  -- A row that has the number already is left to the primary key: the writer may say "on conflict do nothing".
  execute format($create$
    create or replace function %1$I.journal_refuse_late() returns trigger
    language plpgsql security definer as $body$
    declare
      newest integer;
    begin
      perform from %1$I.messages where message_id operator(pg_catalog.=) new.message_id for no key update;
      if not found then
        raise exception 'message %% does not exist', new.message_id
          using errcode = 'foreign_key_violation', schema = tg_table_schema, table = tg_table_name, constraint = 'message_events_message_id_fkey';
      end if;
      if new.sequence_no operator(pg_catalog.<) 0 or new.sequence_no operator(pg_catalog.>) 2000000000 then
        raise exception 'number %% violates check constraint "message_events_sequence_no_check"', new.sequence_no
          using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, constraint = 'message_events_sequence_no_check';
      end if;
      select coalesce(pg_catalog.max(sequence_no), -1) into newest
      from %1$I.message_events where message_id operator(pg_catalog.=) new.message_id;
      if new.sequence_no operator(pg_catalog.<=) newest and not exists (
        select from %1$I.message_events
        where message_id operator(pg_catalog.=) new.message_id and sequence_no operator(pg_catalog.=) new.sequence_no
      ) then
        raise exception 'number %% of message %% is not above its newest event, %%', new.sequence_no, new.message_id, newest
          using errcode = 'unique_violation', schema = tg_table_schema, table = tg_table_name, constraint = 'message_events_pkey',
            hint = 'Take the newest number plus one.';
      end if;
      return new;
    end
    $body$
  $create$, home);

  -- Behind the statement, which may change the message's row itself. The row changes in each transaction that inserts, so that one
  -- whose snapshot is older fails, and does not look for the newest event in it; and once for many events of a statement.
  execute format($create$
    create or replace function %1$I.journal_raise_last_no() returns trigger
    language plpgsql security definer as $body$
    declare
      mark text := pg_catalog.concat(new.message_id, ' ', pg_catalog.pg_current_xact_id());
    begin
      update %1$I.messages m set last_no = greatest(m.last_no, newest.sequence_no)
      from (
        select pg_catalog.max(e.sequence_no) as sequence_no from %1$I.message_events e where e.message_id operator(pg_catalog.=) new.message_id
      ) newest
      where m.message_id operator(pg_catalog.=) new.message_id and (
        m.last_no is null or m.last_no operator(pg_catalog.<) newest.sequence_no
        or m.xmin operator(pg_catalog.<>) pg_catalog.pg_current_xact_id()::pg_catalog.xid
        and pg_catalog.current_setting('journal.raised', true) is distinct from mark
      );
      -- Within a savepoint, xmin is the savepoint's
      perform pg_catalog.set_config('journal.raised', mark, true);
      return null;
    end
    $body$
  $create$, home);

  execute format($create$
    create or replace function %1$I.journal_refuse_renumbering() returns trigger
    language plpgsql as $body$
    begin
      raise exception 'the number and the message of an event cannot change'
        using errcode = 'restrict_violation', schema = tg_table_schema, table = tg_table_name;
    end
    $body$
  $create$, home);

  -- The library sets `ending`, and has raised last_no before. Triggers fire in the order of their names: the app's own may give the number.
  drop trigger if exists zz_journal_refuse_late on message_events;
  create trigger zz_journal_refuse_late before insert on message_events
    for each row when (new.ending is null)
    execute function journal_refuse_late();
  drop trigger if exists journal_raise_last_no on message_events;
  create trigger journal_raise_last_no after insert on message_events
    for each row when (new.ending is null)
    execute function journal_raise_last_no();
  drop trigger if exists journal_refuse_renumbering on message_events;
  create trigger journal_refuse_renumbering before update of message_id, sequence_no on message_events
    for each row when (old.message_id <> new.message_id or old.sequence_no <> new.sequence_no)
    execute function journal_refuse_renumbering();

  execute format($create$
    create or replace function %1$I.journal_note_end() returns trigger
    language plpgsql as $body$
    begin
      if new.status not in ('streaming', 'complete', 'failed', 'stopped') then
        raise exception 'the status "%%" of message %% violates check constraint "messages_status_check"', new.status, new.message_id
          using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, constraint = 'messages_status_check';
      elsif new.status = 'streaming' then
        new.ended_at := null;
        new.ended_no := null;
        new.handed_over := null; -- the release before this one opens messages, too
      elsif new.ended_at is null then
        new.ended_at := now();
      end if;
      return new;
    end
    $body$
  $create$, home);
  drop trigger if exists journal_note_end on messages;
  create trigger journal_note_end before insert or update of status on messages
    for each row execute function journal_note_end();

  ---------------------------------------------------------------------------------------------------------------------
  -- In place of the foreign key, whose check takes between a third and a half of an insertion, and of checks, whose text Postgres
  -- parses anew in each statement: the triggers above make them
  ---------------------------------------------------------------------------------------------------------------------

  if ours then
    execute format($create$
      create or replace function %1$I.journal_delete_events() returns trigger
      language plpgsql security definer as $body$
      begin
        delete from %1$I.message_events e using old_messages o where e.message_id operator(pg_catalog.=) o.message_id;
        return null;
      end
      $body$
    $create$, home);
    execute format($create$
      create or replace function %1$I.journal_refuse_orphans() returns trigger
      language plpgsql as $body$
      begin
        raise exception '%% of %% would leave events without a message', tg_op, tg_table_name
          using errcode = 'foreign_key_violation', schema = tg_table_schema, table = tg_table_name,
            hint = 'DELETE removes the events, too.';
      end
      $body$
    $create$, home);

    drop trigger if exists journal_delete_events on messages;
    create trigger journal_delete_events after delete on messages referencing old table as old_messages
      for each statement execute function journal_delete_events();
    drop trigger if exists journal_refuse_truncate on messages;
    create trigger journal_refuse_truncate before truncate on messages
      for each statement execute function journal_refuse_orphans();
    drop trigger if exists journal_refuse_orphans on messages;
    create trigger journal_refuse_orphans before update of message_id on messages
      for each row when (old.message_id <> new.message_id) execute function journal_refuse_orphans();
    alter table message_events drop constraint message_events_message_id_fkey;
    alter table messages drop constraint if exists messages_status_check;
    alter table message_events drop constraint if exists message_events_sequence_no_check;
  end if;

  ---------------------------------------------------------------------------------------------------------------------
  -- The library's own writers. Each function is called by itself, as a transaction of its own, whose limits hold for table locks,
  -- too. journal_append_one and journal_append are for the case that nobody is in the way, and give up soon. journal_append_some
  -- waits for no row that is locked, writes what can be written, and says why the rest cannot. Columns that an app has added to the
  -- tables may have the names of their variables.
  ---------------------------------------------------------------------------------------------------------------------

  -- Counts the messages among `ids` whose last_no is null and whose row is free. Every count is a statement behind its lock.
  execute format($create$
    create or replace function %1$I.journal_count(ids uuid[]) returns integer
    language plpgsql as $body$
    #variable_conflict use_variable
    declare
      locked uuid[];
    begin
      select array_agg(message_id) into locked from (
        select message_id from %1$I.messages where message_id = any (ids) and last_no is null for no key update skip locked
      ) uncounted;
      update %1$I.messages m set last_no = coalesce(
        (select max(e.sequence_no) from %1$I.message_events e where e.message_id = m.message_id), -1)
      where m.message_id = any (locked);
      return coalesce(cardinality(locked), 0);
    end
    $body$
  $create$, home);

  -- Why writers were refused: [[place, reason, last_no], ...]. Only `taken` and `locked` may pass; last_no goes with `taken`.
  execute format($create$
    create or replace function %1$I.journal_refusals(places integer[], ids uuid[], epochs integer[], first_numbers integer[]) returns text
    language plpgsql as $body$
    #variable_conflict use_variable
    begin
      perform %1$I.journal_count(ids);
      return (
        select json_agg(json_build_array(w.place, case
          when m.message_id is null then 'missing'
          when w.epoch <> m.epoch then case m.status when 'stopped' then 'stopped' else 'fenced' end
          when m.status = 'stopped' then 'stopped'
          when m.status <> 'streaming' then 'ended'
          when m.last_no >= w.first_no then 'taken'
          else 'locked' end, m.last_no))
        from unnest(places) refused(place)
        cross join lateral (
          select refused.place, ids[refused.place] as id, epochs[refused.place] as epoch, first_numbers[refused.place] as first_no
        ) w
        left join %1$I.messages m on m.message_id = w.id
      );
    end
    $body$
  $create$, home);

  -- One event. Null: it is in; otherwise as journal_refusals. `writer`: the lease's epoch; null for a writer without one.
  execute format($create$
    create or replace function %1$I.journal_append_one(id uuid, number integer, type text, body json, writer integer) returns text
    language plpgsql set lock_timeout = '20ms' as $body$
    #variable_conflict use_variable
    begin
      if current_setting('transaction_isolation') <> 'read committed' then
        return 'isolation';
      end if;
      update %1$I.messages set last_no = number
      where message_id = id and status = 'streaming' and last_no < number and (writer is null or epoch = writer);
      if not found then
        return %1$I.journal_refusals('{1}', array[id], array[writer], array[number]);
      end if;
      insert into %1$I.message_events (message_id, sequence_no, event_type, payload, ending) values (id, number, type, body, false);
      if not found then
        raise exception 'the table discards the event: a trigger of its own, or a rule' using errcode = 'data_exception';
      end if;
      return null;
    end
    $body$
  $create$, home);

  -- Events of several messages, one writer each; `places` has each event's writer. The payloads are one text, a line each.
  -- `end_statuses`: what becomes of each writer's message with its last event; null: of none. All of them are in, or it fails:
  -- with JR001 when a writer is refused.
  -- Planned once, for few writers: every join is a nested loop over indexes, however small the tables are at that time.
  execute format($create$
    create or replace function %1$I.journal_append(
      places integer[], numbers integer[], types text[], payloads text, endings boolean[],
      writer_ids uuid[], writer_epochs integer[], first_numbers integer[], last_numbers integer[],
      end_statuses text[], end_errors text[]
    ) returns text
    language plpgsql
    set lock_timeout = '20ms' set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $body$
    #variable_conflict use_variable
    declare
      written integer;
    begin
      if current_setting('transaction_isolation') <> 'read committed' then
        return 'isolation';
      end if;
      update %1$I.messages m set last_no = w.last_no
      from unnest(writer_ids, writer_epochs, first_numbers, last_numbers) w(id, epoch, first_no, last_no)
      where m.message_id = w.id and m.status = 'streaming' and m.last_no < w.first_no and (w.epoch is null or m.epoch = w.epoch);
      get diagnostics written = row_count;
      if written < cardinality(writer_ids) then
        raise exception 'a writer is refused' using errcode = 'JR001';
      end if;
      insert into %1$I.message_events (message_id, sequence_no, event_type, payload, ending)
      select writer_ids[place], number, type, body::json, coalesce(ending, false)
      from unnest(places, numbers, types, string_to_array(payloads, E'\n'), endings) event(place, number, type, body, ending);
      get diagnostics written = row_count;
      if written < cardinality(places) then
        raise exception 'the table discards events: a trigger of its own, or a rule' using errcode = 'data_exception';
      end if;
      if end_statuses is not null then
        update %1$I.messages m set status = w.status, error = w.error, ended_at = now(), ended_no = w.last_no
        from unnest(writer_ids, end_statuses, end_errors, last_numbers) w(id, status, error, last_no)
        where m.message_id = w.id and w.status is not null;
      end if;
      return null;
    end
    $body$
  $create$, home);

  -- The same for those writers who are not refused. The answer names the others, as journal_refusals does; null: all are in.
  execute format($create$
    create or replace function %1$I.journal_append_some(
      lock_timeout_ms integer,
      places integer[], numbers integer[], types text[], payloads text, endings boolean[],
      writer_ids uuid[], writer_epochs integer[], first_numbers integer[], last_numbers integer[],
      end_statuses text[], end_errors text[]
    ) returns text
    language plpgsql
    set plan_cache_mode = force_generic_plan
    set enable_hashjoin = off set enable_mergejoin = off set enable_seqscan = off as $body$
    #variable_conflict use_variable
    declare
      allowed integer[];
      refused integer[];
      written integer;
    begin
      if current_setting('transaction_isolation') <> 'read committed' then
        return 'isolation';
      end if;
      perform set_config('lock_timeout', lock_timeout_ms::text, true);
      for place in 1 .. cardinality(writer_ids) loop
        update %1$I.messages set last_no = last_numbers[place]
        where message_id = (select message_id from %1$I.messages where message_id = writer_ids[place] for no key update skip locked)
          and status = 'streaming' and last_no < first_numbers[place] and (writer_epochs[place] is null or epoch = writer_epochs[place]);
        if found then
          allowed := allowed || place;
        else
          refused := refused || place;
        end if;
      end loop;
      insert into %1$I.message_events (message_id, sequence_no, event_type, payload, ending)
      select writer_ids[place], number, type, body::json, coalesce(ending, false)
      from unnest(places, numbers, types, string_to_array(payloads, E'\n'), endings) event(place, number, type, body, ending)
      where place = any (allowed);
      get diagnostics written = row_count;
      if written < (select count(*) from unnest(places) place where place = any (allowed)) then
        raise exception 'the table discards events: a trigger of its own, or a rule' using errcode = 'data_exception';
      end if;
      if end_statuses is not null then
        update %1$I.messages m set status = w.status, error = w.error, ended_at = now(), ended_no = w.last_no
        from unnest(writer_ids, end_statuses, end_errors, last_numbers) with ordinality w(id, status, error, last_no, place)
        where m.message_id = w.id and w.status is not null and w.place = any (allowed);
      end if;
      if refused is not null then
        return %1$I.journal_refusals(refused, writer_ids, writer_epochs, first_numbers);
      end if;
      return null;
    end
    $body$
  $create$, home);

  -- From the end of this transaction on, no append that is still under way can put one of these numbers, or a lower one, into
  -- the journal. Answers with the places of the messages whose row is locked: [1, ...]; null: there are none.
  execute format($create$
    create or replace function %1$I.journal_fence(lock_timeout_ms integer, ids uuid[], epochs integer[], numbers integer[]) returns text
    language plpgsql as $body$
    #variable_conflict use_variable
    declare
      locked integer[];
    begin
      if current_setting('transaction_isolation') <> 'read committed' then
        return 'isolation';
      end if;
      perform set_config('lock_timeout', lock_timeout_ms::text, true);
      perform %1$I.journal_count(ids);
      for place in 1 .. cardinality(ids) loop
        perform from %1$I.messages
        where message_id = ids[place] and last_no is not null for no key update skip locked;
        if found then
          update %1$I.messages set last_no = numbers[place]
          where message_id = ids[place] and last_no < numbers[place] and (epochs[place] is null or epoch = epochs[place]);
        elsif exists (select from %1$I.messages where message_id = ids[place]) then
          locked := locked || place;
        end if;
      end loop;
      return array_to_json(locked)::text;
    end
    $body$
  $create$, home);
end
$do$;
