import type { Pool, PoolClient } from 'pg'

/** With the setting that the types of pg leave out. */
interface Client extends PoolClient {
  binary: boolean
}

/** Whether a session is within a transaction, as the server said with its last answer. */
const inTransaction = new WeakMap<PoolClient, boolean>()

/** The clients that want binary results when the app uses them. */
const binary = new WeakSet<PoolClient>()

/**
 * Takes a client from the pool and listens to its `error` in the same turn of the event loop. A session that the server
 * ends fails the statement under way; the event, unheard, would end the process, and `await pool.connect()` comes back
 * too late for one that is ended as soon as it has begun.
 *
 * Until it is given back, the client's results are texts, whatever the app has set.
 */
export async function acquire (pool: Pool): Promise<PoolClient> {
  return await new Promise((resolve, reject) => {
    pool.connect((error, client) => {
      if (client === undefined) return reject(error)
      client.on('error', ignore)
      const settings = client as Client // pg's own class
      if (!inTransaction.has(client)) {
        inTransaction.set(client, false)
        const { connection } = client as Partial<PoolClient> // pg-native's have none
        connection?.on('readyForQuery', ({ status }: { status: string }) => { inTransaction.set(client, status === 'T') })
      }
      if (settings.binary) binary.add(client)
      settings.binary = false
      resolve(client)
    })
  })
}

/** Whether a statement that was just answered was within a transaction, of which nothing is committed yet. */
export function isInTransaction (client: PoolClient): boolean {
  return inTransaction.get(client) === true
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
