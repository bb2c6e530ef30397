import type { Pool } from 'pg'

/**
 * Gives the answers that an earlier run has left time to be gone on with: it gave their leases up when it was stopped, and
 * the journal would end them as abandoned. To be called before the journal is there; does nothing where there are no tables.
 */
export async function spareUnfinished (pool: Pool): Promise<void> {
  await pool.query(`
    do $$ begin
      if to_regclass('demo_answers') is not null then
        update messages set heartbeat_at = now()
        where status = 'streaming' and message_id in (select message_id from demo_answers where producer is not null);
      end if;
    end $$`)
}

/** All workers that have left something unfinished, but for these. */
export async function findOrphans (pool: Pool, living: string[]): Promise<string[]> {
  const { rows } = await pool.query<{ producer: string }>(`
    select producer from demo_answers where producer is not null and producer <> all($1::uuid[])
    union
    select producer from demo_uploads where producer is not null and producer <> all($1::uuid[])`,
  [living])
  return rows.map(({ producer }) => producer)
}

/** `jrnldemo` in ASCII: whoever makes the tables holds it, because IF NOT EXISTS alone is no lock. */
const TABLES_LOCK = '7670314527185268079'

/**
 * Makes the demo's own tables, beside the journal's, which must be there. Safe in any number of processes at once: the
 * whole text is one transaction.
 *
 * `producer` is the worker that is at it, by the name that its primary gave it; null: nobody has to be.
 */
export async function makeTables (pool: Pool): Promise<void> {
  await pool.query(`
    select pg_advisory_xact_lock(${TABLES_LOCK});

    create table if not exists demo_answers (
      message_id uuid primary key references messages on delete cascade,
      user_id text not null,
      prompt text not null,
      plan json[],
      producer uuid
    );
    create index if not exists demo_answers_producer on demo_answers (producer) where producer is not null;

    create table if not exists demo_approvals (
      approval_id uuid primary key,
      message_id uuid not null references demo_answers on delete cascade,
      action json not null,
      approved boolean
    );
    create index if not exists demo_approvals_message on demo_approvals (message_id);

    create table if not exists demo_uploads (
      upload_id uuid primary key,
      user_id text not null,
      name text not null,
      content text,
      producer uuid
    );

    create table if not exists demo_passages (
      upload_id uuid not null references demo_uploads on delete cascade,
      position integer not null,
      user_id text not null,
      text text not null,
      words tsvector not null generated always as (to_tsvector('english', text)) stored,
      primary key (upload_id, position)
    );
    create index if not exists demo_passages_user on demo_passages (user_id);
    create index if not exists demo_passages_words on demo_passages using gin (words);`)
}
