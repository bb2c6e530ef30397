import type { Pool, PoolClient } from 'pg'
import { NotSentError } from './failures.js'

/** A client with what pg's types leave out. */
interface Client extends PoolClient {
  binary: boolean
  /** `false`: the app has released it while one of its own queries is running. */
  readyForQuery?: boolean
}

/** The clients that want binary results when the app uses them. */
const binary = new WeakSet<PoolClient>()

/** How many clients with an open transaction are closed before giving up. */
const MAX_LEFT_OPEN = 100

/**
 * Takes a client from the pool. A client that the app has released within a transaction is closed, and another one
 * taken: statements in that transaction would see its old snapshot, and be committed or rolled back with it.
 *
 * Until it is released, the client's results are texts, whatever the app has set.
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
 * Listens to the client's `error` event in the turn of the event loop in which the pool hands it out. Without a
 * listener the event would end the process. `await pool.connect()` would be too late for a session that the server ends
 * at once.
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

/** Whether the session is within a transaction, so that the statement answered last is not committed. */
export function isInTransaction (client: PoolClient): boolean {
  return ['T', 'E'].includes(String(client.getTransactionStatus()))
}

/** Gives the client back to the pool. A `broken` one is closed. */
export function release (client: PoolClient, broken: boolean): void {
  const settings = client as Client // pg's own class
  settings.binary = binary.has(client)
  client.off('error', ignore)
  client.release(broken)
}

/** An `error` listener for errors that also reject a promise. */
export function ignore (): void {}
