import type { PoolClient } from 'pg'
import type { RateLimitedLogger } from '../util/rate-limited-logger.js'
import { sqlState } from './failures.js'
import type { Tables } from './statements.js'

/**
 * Recognises a failover. A promoted standby goes on under another timeline, and may lack the newest commits. Numbers
 * that readers have seen would be given again. So, before anything is written, `last_no` of every message with a lease
 * is raised far over what may have been lost.
 * (https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES)
 *
 * Called with each client before its first use. Resolves with `false` if it should be called with this client again.
 */
export type Greet = (client: PoolClient) => Promise<boolean>

/** More events than any message can have had since its last replicated one. */
const RAISE_BY = 1_000_000
/** Keeps numbers below the end of their type. */
const MAX_NO = 2_000_000_000
/** Not `pg_control_checkpoint()`, which has the old timeline for some seconds after a promotion. */
const TIMELINE = 'left(pg_walfile_name(pg_current_wal_lsn()), 8)'
/** SQLSTATEs of servers that do not tell their timeline: there is no such function, or this role may not call it. */
const UNSUPPORTED = ['42883', '42501', '0A000']
/** SQLSTATEs of a standby, which has no timeline to write on, and of tables that are not there yet. */
const NOT_YET = ['55000', '42P01', '3F000']

/** Compares the server's timeline with the one in `state`. */
export function createGreet ({ messages, events, state }: Tables, timeoutMs: number, log: RateLimitedLogger): Greet {
  const limits = {
    types: { getTypeParser: () => (value: string) => value },
    rowMode: 'array',
    query_timeout: timeoutMs
  } as const
  let isSupported = true

  async function run (client: PoolClient, text: string): Promise<string[][]> {
    const result: unknown = await client.query({ text, ...limits })
    return ([result].flat().at(-1) as { rows: string[][] }).rows // of texts
  }

  async function isNew (client: PoolClient, lock: string): Promise<{ timeline: string, known: string | null } | null> {
    const [[timeline = '', known = null] = []] = await run(client, `select ${TIMELINE}, timeline from ${state}${lock}`)
    return timeline === known ? null : { timeline, known }
  }

  async function adopt (client: PoolClient): Promise<void> {
    await run(client, `
      begin isolation level read committed;
      set local lock_timeout = ${Math.ceil(timeoutMs / 2)};
      set local idle_in_transaction_session_timeout = ${2 * timeoutMs}`)
    const found = await isNew(client, ' for update')
    if (found !== null) {
      if (found.known !== null) {
        await run(client, `
          update ${messages} m set last_no = least(${MAX_NO}, ${RAISE_BY} +
            coalesce(last_no, (select max(sequence_no) from ${events} e where e.message_id = m.message_id), -1))
          where status = 'streaming' and epoch > 0 and coalesce(last_no, 0) < ${MAX_NO}`)
        log.warn('timeline', {
          timeline: found.timeline, before: found.known
        }, 'journal: Postgres has failed over: the numbers of open messages go on far above those that may be lost')
      }
      await run(client, `update ${state} set timeline = '${found.timeline}'`)
    }
    await run(client, 'commit')
  }

  return async (client) => {
    if (!isSupported) return true
    try {
      if (await isNew(client, '') !== null) await adopt(client)
      return true
    } catch (error) {
      const code = sqlState(error) ?? ''
      if (code !== '') await client.query('rollback')
      if (UNSUPPORTED.includes(code)) {
        isSupported = false
        log.warn('timeline', { err: error },
          'journal: this Postgres does not tell its timeline: a failover that loses commits is not recognised')
        return true
      }
      if (NOT_YET.includes(code)) return false
      throw error
    }
  }
}
