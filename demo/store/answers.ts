import type { Pool } from 'pg'
import type { Action, Step } from '../answers/step.js'

/** An answer that somebody has to go on with. */
export interface OpenAnswer {
  messageId: string
  userId: string
  /** Everything it says, from its first event on; null: only its first producer knew. */
  plan: Step[] | null
}

/**
 * Who is at which answer, and what it is to say: in Postgres, beside the events, so that a producer may die at any moment.
 * Every method is one statement, and rejects with pg's error.
 */
export interface AnswerStore {
  /** This worker begins with it; `prompt` is kept for whoever looks into the table. */
  begin (answer: OpenAnswer & { prompt: string }): Promise<void>
  /** There is nothing to do for it any more, unless its plan has grown since. */
  finish (answer: OpenAnswer): Promise<void>
  /** What a user is, or was, asked; null: nothing of the kind. */
  findApproval (approval: { messageId: string, userId: string, approvalId: string }): Promise<Action | null>
  /** The decision and what is said because of it, both or neither; null: it was decided before. This worker goes on. */
  decide (approval: { messageId: string, approvalId: string, approved: boolean, steps: Step[] }): Promise<OpenAnswer | null>
  /** Makes these workers' answers this worker's; resolves with those that are not at their end. */
  adopt (producers: string[]): Promise<OpenAnswer[]>
  /** Which worker is producing the message; null: none, or it is not this user's. */
  producerOf (messageId: string, userId: string): Promise<string | null>
}

interface AnswerRow {
  message_id: string
  user_id: string
  plan: Step[] | null
}

const toAnswer = ({ message_id: messageId, user_id: userId, plan }: AnswerRow): OpenAnswer => ({ messageId, userId, plan })

const asJson = (steps: Step[] | null): string[] | null => steps?.map((step) => JSON.stringify(step)) ?? null

export function createAnswerStore (pool: Pool, producer: string): AnswerStore {
  return {
    async begin ({ messageId, userId, prompt, plan }) {
      await pool.query(`
        with answer as (
          insert into demo_answers (message_id, user_id, prompt, plan, producer) values ($1, $2, $3, $4::json[], $5) returning message_id, plan
        )
        insert into demo_approvals (approval_id, message_id, action)
        select (step->>'approvalId')::uuid, message_id, step->'action' from answer, unnest(plan) as step where step->>'type' = 'approval'`,
      [messageId, userId, prompt, asJson(plan), producer])
    },

    async finish ({ messageId, plan }) {
      await pool.query(`
        update demo_answers set producer = null
        where message_id = $1 and producer = $2 and cardinality(plan) is not distinct from $3`,
      [messageId, producer, plan?.length ?? null])
    },

    async findApproval ({ messageId, userId, approvalId }) {
      const { rows: [row] } = await pool.query<{ action: Action }>(`
        select action from demo_approvals join demo_answers using (message_id)
        where message_id = $1 and user_id = $2 and approval_id = $3`,
      [messageId, userId, approvalId])
      return row?.action ?? null
    },

    async decide ({ messageId, approvalId, approved, steps }) {
      const { rows: [row] } = await pool.query<AnswerRow>(`
        with decision as (
          update demo_approvals set approved = $3 where message_id = $1 and approval_id = $2 and approved is null returning message_id
        )
        update demo_answers a set plan = plan || $4::json[], producer = $5
        from decision where a.message_id = decision.message_id
        returning a.message_id, a.user_id, a.plan`,
      [messageId, approvalId, approved, asJson(steps), producer])
      return row === undefined ? null : toAnswer(row)
    },

    async adopt (producers) {
      // One event a step, so the newest number says how far a plan has come
      const { rows } = await pool.query<AnswerRow & { over: boolean }>(`
        with adopted as (
          update demo_answers set producer = $1 where producer = any($2::uuid[]) returning message_id, user_id, plan
        ),
        state as (
          select a.*, m.status,
            (select coalesce(max(sequence_no), -1) from message_events e where e.message_id = a.message_id) as latest
          from adopted a join messages m using (message_id)
        )
        select message_id, user_id, plan,
          not (status = 'streaming' or (status = 'complete' and coalesce(latest + 1 < cardinality(plan), false))) as over
        from state`,
      [producer, producers])
      await Promise.all(rows.filter(({ over }) => over).map((row) => this.finish(toAnswer(row))))
      return rows.filter(({ over }) => !over).map(toAnswer)
    },

    async producerOf (messageId, userId) {
      const { rows: [row] } = await pool.query<{ producer: string | null }>(`
        select producer from demo_answers join messages using (message_id)
        where message_id = $1 and demo_answers.user_id = $2 and status = 'streaming'`,
      [messageId, userId])
      return row?.producer ?? null
    }
  }
}
