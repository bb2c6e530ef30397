import type { Pool, PoolClient } from 'pg'
import { NotSentError } from './failures.js'

/** With what the types of pg leave out. */
interface Client extends PoolClient {
  binary: boolean
  /** `false`: the app has given it back while a query of its own is under way. */
  readyForQuery?: boolean
}

/** The clients that want binary results when the app uses them. */
const binary = new WeakSet<PoolClient>()

/** So many clients of an app that leaves its transactions open are closed before one is given up on. */
const MAX_LEFT_OPEN = 100

/**
 * Takes a client from the pool. One that the app has given back within a transaction is closed, and another one taken:
 * whatever is done in that transaction sees its old snapshot, and is undone or committed with it.
 *
 * Until it is given back, the client's results are texts, whatever the app has set.
 */
export async function acquire (pool: Pool): Promise<PoolClient> {
  for (let leftOpen = 0; leftOpen < MAX_LEFT_OPEN; leftOpen++) {
    const client = await connect(pool)
    if (await isIdle(client)) return client
    release(client, true)
  }
  throw new NotSentError('the app gives its clients back within transactions')
}

/**
 * Listens to the client's `error` in the same turn of the event loop in which the pool gives it. A session that the
 * server ends fails the statement under way; the event, unheard, would end the process, and `await pool.connect()`
 * comes back too late for one that is ended as soon as it has begun.
 */
async function connect (pool: Pool): Promise<PoolClient> {
  return await new Promise((resolve, reject) => {
    pool.connect((error, client) => {
      if (client === undefined) return reject(error)
      client.on('error', ignore)
      const settings = client as Client // pg's own class
      if (settings.binary) binary.add(client)
      settings.binary = false
      resolve(client)
    })
  })
}

async function isIdle (client: PoolClient): Promise<boolean> {
  // The server says how it stands once it has answered the app's last query
  if ((client as Client).readyForQuery === false) await client.query('').catch(ignore)
  return !isInTransaction(client)
}

/** Whether a statement that was just answered was within a transaction, of which nothing is committed yet. */
export function isInTransaction (client: PoolClient): boolean {
  return ['T', 'E'].includes(client.getTransactionStatus() ?? '')
}

/** A `broken` client is closed; any other waits in the pool for the next. */
export function release (client: PoolClient, broken: boolean): void {
  const settings = client as Client // pg's own class
  settings.binary = binary.has(client)
  client.off('error', ignore)
  client.release(broken)
}

/** An `error` listener for what is told in another way too. */
export function ignore (): void {}
