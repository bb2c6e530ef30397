-- The foreign key and the checks come back where they were taken away. What has no message would keep the key from that.
do $$
begin
  if exists (
    select from pg_catalog.pg_trigger where tgrelid = 'messages'::regclass and tgname = 'journal_delete_events'
  ) then
    delete from message_events e where not exists (select from messages m where m.message_id = e.message_id);
    alter table message_events
      add constraint message_events_message_id_fkey foreign key (message_id) references messages (message_id) on delete cascade;
    alter table message_events add constraint message_events_sequence_no_check check (sequence_no >= 0);
    alter table messages
      add constraint messages_status_check check (status in ('streaming', 'complete', 'failed', 'stopped'));
  end if;
  if (select relkind = 'r' from pg_catalog.pg_class where oid = 'messages'::regclass) then
    alter table messages reset (fillfactor);
  end if;
end
$$;

drop trigger if exists zz_journal_refuse_late on message_events;
drop trigger if exists journal_raise_last_no on message_events;
drop trigger if exists journal_refuse_renumbering on message_events;
drop trigger if exists journal_note_end on messages;
drop trigger if exists journal_delete_events on messages;
drop trigger if exists journal_refuse_truncate on messages;
drop trigger if exists journal_refuse_orphans on messages;
drop function if exists journal_refuse_late(), journal_raise_last_no(), journal_refuse_renumbering(), journal_note_end(),
  journal_delete_events(), journal_refuse_orphans(), journal_count(uuid[]),
  journal_refusals(integer[], uuid[], integer[], integer[]),
  journal_append_one(uuid, integer, text, json, integer),
  journal_append(integer[], integer[], text[], text, boolean[], uuid[], integer[], integer[], integer[], text[], text[]),
  journal_append_some(integer, integer[], integer[], text[], text, boolean[], uuid[], integer[], integer[], integer[], text[], text[]),
  journal_fence(integer, uuid[], integer[], integer[]);
drop table if exists journal_state;

drop index if exists messages_unheard_idx, messages_handed_over_idx;
alter table message_events drop column if exists ending;
alter table messages
  drop column if exists last_no,
  drop column if exists ended_at,
  drop column if exists ended_no,
  drop column if exists open_token,
  drop column if exists touched_at,
  drop column if exists handed_over;
