import type { Pool } from 'pg'
import { termsOf } from '../answers/bm25.js'
import type { Passage } from '../answers/step.js'

export interface Upload {
  uploadId: string
  userId: string
  name: string
  content: string
}

/** Files that users have uploaded, and their passages. Every method is one statement, and rejects with pg's error. */
export interface UploadStore {
  /** Keeps the file until all of its passages are, so that another worker can go on. */
  begin (upload: Upload): Promise<void>
  /** Passages from `position` on; those that are there already stay. */
  addPassages (upload: Upload, position: number, texts: string[]): Promise<void>
  countPassages (uploadId: string): Promise<number>
  finish (uploadId: string): Promise<void>
  /** Makes these workers' unfinished uploads this worker's. */
  adopt (producers: string[]): Promise<Upload[]>
  /** The passages of the user's own that match best, if any does. */
  search (userId: string, prompt: string): Promise<Passage[]>
}

const mostFound = 20

export function createUploadStore (pool: Pool, producer: string): UploadStore {
  return {
    async begin ({ uploadId, userId, name, content }) {
      await pool.query('insert into demo_uploads (upload_id, user_id, name, content, producer) values ($1, $2, $3, $4, $5)',
        [uploadId, userId, name, content, producer])
    },

    async addPassages ({ uploadId, userId }, position, texts) {
      await pool.query(`
        insert into demo_passages (upload_id, user_id, position, text)
        select $1, $2, $3 + place - 1, text from unnest($4::text[]) with ordinality as passage (text, place)
        on conflict do nothing`,
      [uploadId, userId, position, texts])
    },

    async countPassages (uploadId) {
      const { rows: [row] } = await pool.query<{ count: number }>('select count(*)::int from demo_passages where upload_id = $1', [uploadId])
      return Number(row?.count)
    },

    async finish (uploadId) {
      await pool.query('update demo_uploads set content = null, producer = null where upload_id = $1', [uploadId])
    },

    async adopt (producers) {
      const { rows } = await pool.query<{ upload_id: string, user_id: string, name: string, content: string }>(`
        update demo_uploads set producer = $1 where producer = any($2::uuid[]) and content is not null
        returning upload_id, user_id, name, content`,
      [producer, producers])
      return rows.map(({ upload_id: uploadId, user_id: userId, name, content }) => ({ uploadId, userId, name, content }))
    },

    async search (userId, prompt) {
      const terms = termsOf(prompt) // letters and digits: nothing that the text search's own syntax would take amiss
      if (terms.length === 0) return []
      const { rows } = await pool.query<{ name: string, position: number, text: string }>(`
        select name, position, text
        from demo_passages p join demo_uploads using (upload_id), to_tsquery('english', $2) as wanted
        where p.user_id = $1 and words @@ wanted
        order by ts_rank_cd(words, wanted) desc, upload_id, position limit $3`,
      [userId, terms.join(' | '), mostFound])
      return rows.map(({ name, position, text }) => ({ source: `${name} (passage ${position + 1})`, text }))
    }
  }
}
