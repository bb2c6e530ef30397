-- Where numbers that an app chose have left a hole in a message that has a producer too: what the producer records goes
-- above it, since readers have passed the hole.

alter table messages add column if not exists sequence_floor integer not null default -1;

comment on column messages.sequence_floor is 'a producer''s events get numbers above this one';
