alter table messages drop column if exists sequence_floor;
