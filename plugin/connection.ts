import type { Pool, PoolClient, QueryArrayConfig, QueryArrayResult } from 'pg'
import { giveBack, lend } from './lend.js'
import { failureKind, isUnsure, NotSentError } from './postgres-errors.js'
import type { JournalStatements, StatementName } from './statements.js'

export type Value = string | null
export type ArrayRow = [Value, ...Value[]]

/** Every column arrives as the text that Postgres sent: a payload is never parsed on its way to a reader. */
const asText = { getTypeParser: () => (value: string) => value }

/** Executes one of the journal's statements; answers with its rows, or with how many it touched when it gives none back. */
export interface Connection {
  query (name: StatementName, values: unknown[]): Promise<ArrayRow[]>
  count (name: StatementName, values: unknown[]): Promise<number>
}

/** A connection that takes a client of the pool for each statement, and can hold one for a transaction. */
export interface PooledConnection extends Connection {
  /**
   * Runs `work` between `begin`, which is sent together with a BEGIN, and COMMIT. `begin` is SQL without parameters;
   * `work` gets its rows. Whatever rejects, nothing is committed.
   */
  transaction<T> (begin: string, work: (connection: Connection, rows: ArrayRow[]) => Promise<T>): Promise<T>
}

/** How long a statement may take before its outcome counts as unknown and its connection as broken, in ms. */
const STATEMENT_TIMEOUT_MS = 5_000

/** No try of a writer that waits for `writeRetryMs` may take longer than that. */
export function createConnection (pool: Pool, statements: JournalStatements, writeRetryMs: number): PooledConnection {
  const timeoutMs = Math.min(STATEMENT_TIMEOUT_MS, writeRetryMs)
  const limits = { rowMode: 'array', types: asText, query_timeout: timeoutMs } as const

  async function withClient<T> (work: (client: PoolClient) => Promise<T>): Promise<T> {
    const client = await connect(pool, timeoutMs)
    try {
      const result = await work(client)
      giveBack(client, false)
      return result
    } catch (error) {
      giveBack(client, failureKind(error) === 'transient') // a broken connection does not go back to the pool
      throw error
    }
  }

  function on (client: PoolClient): Connection {
    async function execute (name: StatementName, values: unknown[]) {
      const config: QueryArrayConfig = { ...statements[name], values, ...limits }
      return await client.query<ArrayRow>(config)
    }
    return {
      query: async (name, values) => (await execute(name, values)).rows,
      count: async (name, values) => Number((await execute(name, values)).rowCount)
    }
  }

  return {
    query: async (name, values) => await withClient(async (client) => await on(client).query(name, values)),
    count: async (name, values) => await withClient(async (client) => await on(client).count(name, values)),
    transaction: async (begin, work) => await withClient(async (client) => {
      let committing = false
      try {
        const config: QueryArrayConfig = { text: `begin; ${begin}`, ...limits }
        const results: unknown = await client.query<ArrayRow>(config)
        // pg answers several statements with an array of their results
        const rows = (results as Array<QueryArrayResult<ArrayRow>>).flatMap((result) => result.rows)
        const result = await work(on(client), rows)
        committing = true
        await client.query({ text: 'commit', ...limits })
        return result
      } catch (error) {
        if (failureKind(error) !== 'transient') await client.query({ text: 'rollback', ...limits })
        throw !committing && isUnsure(error) ? new NotSentError('the transaction was cut off', { cause: error }) : error
      }
    })
  }
}

/**
 * A client of the pool within `timeoutMs`. One that arrives later goes straight back: no statement is ever
 * sent after its caller was told that it failed.
 */
function connect (pool: Pool, timeoutMs: number): Promise<PoolClient> {
  return new Promise((resolve, reject) => {
    let late = false
    const timer = setTimeout(() => {
      late = true
      reject(new NotSentError(`no connection to Postgres within ${timeoutMs} ms`))
    }, timeoutMs)
    lend(pool).then((client) => {
      clearTimeout(timer)
      if (late) giveBack(client, false)
      else resolve(client)
    }, (error: unknown) => {
      clearTimeout(timer)
      reject(failureKind(error) === 'transient' ? new NotSentError('no connection to Postgres', { cause: error }) : error)
    })
  })
}
