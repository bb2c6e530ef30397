-- Deletes every journaled message.
drop table if exists message_events;
drop table if exists messages;
