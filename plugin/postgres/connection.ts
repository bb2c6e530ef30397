import type { Pool, PoolClient, QueryArrayConfig, QueryArrayResult } from 'pg'
import { release, isInTransaction, acquire } from './pool.js'
import { failureKind, isUnsure, NotSentError } from './failures.js'
import type { JournalStatements, StatementName } from './statements.js'
import type { Greet } from './failover.js'

/** A value as the server sends it. */
export type Value = string | null
/** A row, column by column. */
export type ArrayRow = [Value, ...Value[]]

/** Every column stays the text that Postgres sent. A payload is never parsed on its way to a reader. */
const asText = { getTypeParser: () => (value: string) => value }

/** Executes the journal's statements. Rejects with pg's own error, or NotSentError. */
export interface Queries {
  /** The rows. */
  query (name: StatementName, values: unknown[]): Promise<ArrayRow[]>
  /** How many rows the statement touched. */
  count (name: StatementName, values: unknown[]): Promise<number>
}

/** One client of the pool. */
export interface Connection extends Queries {
  /**
   * Calls one of the journal's functions, as a transaction of its own under read committed. Resolves with its answer.
   */
  call (name: StatementName, values: unknown[]): Promise<Value>
}

/** Takes a client of the pool for each statement, and can hold one for longer. */
export interface PooledConnection extends Queries {
  /**
   * `query` under the limits of a transaction, which hold for table locks, too. For a read that has failed before: it
   * leaves no statement waiting.
   */
  queryWithLimits (name: StatementName, values: unknown[]): Promise<ArrayRow[]>
  /** Runs `work` on one client. */
  hold<T> (work: (connection: Connection) => Promise<T>): Promise<T>
  /**
   * Runs `work` in a transaction. `begin` is SQL without parameters, which is sent together with BEGIN; `work` gets the
   * rows of each of its statements. When a prepared statement is gone, all of it is run again. Rejects with
   * NotSentError when COMMIT was not sent: nothing was committed, or will be. `isUnsure` tells whether the answer to
   * COMMIT was lost.
   */
  transaction<T> (begin: string, work: (connection: Connection, rows: ArrayRow[][]) => Promise<T>): Promise<T>
  /** Runs SQL without parameters as one transaction, in one trip. Resolves with the rows of each of its statements. */
  script (sql: string): Promise<ArrayRow[][]>
}

/**
 * How long a statement may take, in ms. After that its outcome is unknown, and its connection is closed. No try of a
 * writer may take longer than `writeRetryMs`.
 */
export function statementTimeout (writeRetryMs: number): number {
  return Math.min(5_000, writeRetryMs)
}

/** The answer of the journal's functions in a session whose transactions do not begin under read committed. */
const WRONG_ISOLATION = 'isolation'

/**
 * How long a transaction waits for a lock, in ms. It is less than its client waits: a statement that is left waiting
 * would write its events when the lock is free, long after their caller was told that they are not recorded.
 */
export function lockTimeout (writeRetryMs: number): number {
  return Math.min(2_000, Math.ceil(writeRetryMs / 2))
}

/** One of the pool's clients, as the journal uses it. */
class Session implements Connection {
  /** Whether the server has dropped the session's prepared statements. Then it is used without them, and closed. */
  isStale = false
  /** Whether a transaction is open that this class has begun. */
  isOpen = false
  readonly #client: PoolClient
  readonly #context: SessionContext

  constructor (client: PoolClient, context: SessionContext) {
    this.#client = client
    this.#context = context
  }

  async query (name: StatementName, values: unknown[]): Promise<ArrayRow[]> {
    return (await this.#execute(name, values)).rows
  }

  async count (name: StatementName, values: unknown[]): Promise<number> {
    return Number((await this.#execute(name, values)).rowCount)
  }

  async call (name: StatementName, values: unknown[]): Promise<Value> {
    const context = this.#context
    if (!context.mustBegin || this.isOpen) {
      const answer = await this.#scalar(name, values)
      // The app still uses the client, and may commit this or not. So the event is looked for
      if (!this.isOpen && isInTransaction(this.#client)) {
        throw new Error('the app has begun a transaction on a client that it has given back')
      }
      if (answer !== WRONG_ISOLATION) return answer
      context.mustBegin = true
    }
    const wasStale = this.isStale
    return await this.#begun(name, values).catch(async (error: unknown) => {
      if (wasStale || failureKind(error) !== 'stale') throw error
      return await this.#begun(name, values)
    })
  }

  async #begun (name: StatementName, values: unknown[]): Promise<Value> {
    await this.begin()
    try {
      const answer = await this.#scalar(name, values)
      await this.commit()
      return answer
    } catch (error) {
      if (failureKind(error) !== 'transient') await this.rollback()
      throw error
    }
  }

  /** Begins a transaction with its limits. The statements, which have no parameters, are sent with it. */
  async begin (...statements: string[]): Promise<ArrayRow[][]> {
    this.isOpen = true
    const { opening } = this.#context
    return (await this.#run([...opening, ...statements])).slice(opening.length)
  }

  async commit (): Promise<void> {
    const { command } = await this.#client.query({ text: 'commit', ...this.#context.limits })
    this.isOpen = false
    if (command !== 'COMMIT') throw new NotSentError(`the transaction was not committed: ${command}`)
  }

  async rollback (): Promise<void> {
    if (this.isOpen) await this.#run(['rollback'])
    this.isOpen = false
  }

  async script (sql: string): Promise<ArrayRow[][]> {
    const results = await this.begin(sql, 'commit')
    this.isOpen = false
    return results.slice(0, -1)
  }

  async #scalar (name: StatementName, values: unknown[]): Promise<Value> {
    const [[answer = null] = []] = await this.query(name, values)
    return answer
  }

  /**
   * Prepares a statement anew that the session has lost. Not within a transaction, because the failure has ended it.
   */
  async #execute (name: StatementName, values: unknown[]): Promise<QueryArrayResult<ArrayRow>> {
    try {
      return await this.#send(name, values)
    } catch (error) {
      if (this.isStale || failureKind(error) !== 'stale') throw error
      this.isStale = true
      if (this.isOpen) throw error
      return await this.#send(name, values)
    }
  }

  #send (name: StatementName, values: unknown[]): Promise<QueryArrayResult<ArrayRow>> {
    const { statements, limits } = this.#context
    const { name: prepared, text } = statements[name]
    const config: QueryArrayConfig = this.isStale
      ? { text, values, ...limits }
      : { name: prepared, text, values, ...limits }
    return this.#client.query<ArrayRow>(config)
  }

  async #run (statements: readonly string[]): Promise<ArrayRow[][]> {
    const config: QueryArrayConfig = { text: statements.join(';'), ...this.#context.limits }
    // pg answers several statements with an array of their results, and one with its result
    const results: unknown = await this.#client.query<ArrayRow>(config)
    return [results].flat().map((result) => (result as QueryArrayResult<ArrayRow>).rows)
  }
}

interface SessionContext {
  statements: JournalStatements
  limits: { rowMode: 'array', types: typeof asText, query_timeout: number }
  /** The statements that begin a transaction. */
  opening: readonly string[]
  /** Whether functions need a BEGIN of their own, because the session's default isolation level is another. */
  mustBegin: boolean
}

/** `greet` is called with each client before its first use. If it rejects, that use fails with its error. */
export function createConnection (
  pool: Pool, statements: JournalStatements, writeRetryMs: number, greet: Greet = async () => true
): PooledConnection {
  const timeoutMs = statementTimeout(writeRetryMs)
  const sessions = new WeakMap<PoolClient, Session>()
  const context: SessionContext = {
    statements,
    limits: { rowMode: 'array', types: asText, query_timeout: timeoutMs },
    opening: [
      'begin isolation level read committed',
      `set local lock_timeout = ${lockTimeout(writeRetryMs)}`,
      // A host that vanishes must not hold a message's row
      `set local idle_in_transaction_session_timeout = ${2 * timeoutMs}`
    ],
    mustBegin: false
  }

  async function sessionOf (client: PoolClient): Promise<Session> {
    const known = sessions.get(client)
    if (known !== undefined) return known
    const mayBeKept = await certain(greet(client))
    const session = new Session(client, context)
    if (mayBeKept) sessions.set(client, session)
    return session
  }

  async function hold<T> (work: (session: Session) => Promise<T>): Promise<T> {
    const client = await connect(pool, timeoutMs)
    try {
      const session = await sessionOf(client)
      const result = await work(session).catch(async (error: unknown) => {
        if (failureKind(error) !== 'transient') await session.rollback()
        throw error
      })
      release(client, session.isStale)
      return result
    } catch (error) {
      // A broken connection does not go back to the pool
      release(client, failureKind(error) === 'transient' || sessions.get(client)?.isStale === true)
      throw error
    }
  }

  async function transaction<T> (
    begin: string, work: (connection: Connection, rows: ArrayRow[][]) => Promise<T>
  ): Promise<T> {
    return await hold(async (session) => {
      const attempt = async (): Promise<T> => await work(session, await session.begin(begin))
      const result = await certain(attempt().catch(async (error: unknown) => {
        if (!session.isStale || failureKind(error) !== 'stale') throw error
        await session.rollback()
        return await attempt()
      }))
      await session.commit()
      return result
    })
  }

  return {
    query: async (name, values) => await hold(async (session) => await session.query(name, values)),
    count: async (name, values) => await hold(async (session) => await session.count(name, values)),
    queryWithLimits: async (name, values) => await transaction(
      'select', async (session) => await session.query(name, values)),
    hold,
    transaction,
    script: async (sql) => await hold(async (session) => await session.script(sql))
  }
}

/** Turns an unknown outcome into NotSentError, because this work commits nothing by itself. */
async function certain<T> (work: Promise<T>): Promise<T> {
  return await work.catch((error: unknown) => {
    throw isUnsure(error) ? new NotSentError('the connection was lost', { cause: error }) : error
  })
}

/**
 * A client of the pool within `timeoutMs`. A client that arrives later goes straight back, so that no statement is sent
 * after its caller was told that it failed.
 */
function connect (pool: Pool, timeoutMs: number): Promise<PoolClient> {
  return new Promise((resolve, reject) => {
    let late = false
    const timer = setTimeout(() => {
      late = true
      reject(new NotSentError(`no connection to Postgres within ${timeoutMs} ms`))
    }, timeoutMs)
    acquire(pool).then((client) => {
      clearTimeout(timer)
      if (late) release(client, false)
      else resolve(client)
    }, (error: unknown) => {
      clearTimeout(timer)
      const isAway = failureKind(error) === 'transient'
      reject(isAway ? new NotSentError('no connection to Postgres', { cause: error }) : error)
    })
  })
}
