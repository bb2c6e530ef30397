import type { Pool, PoolClient } from 'pg'

/**
 * Takes a client from the pool and listens to its `error` in the same turn of the event loop. A session that the server
 * ends fails the statement under way; the event, unheard, would end the process, and `await pool.connect()` comes back
 * too late for one that is ended as soon as it has begun.
 */
export async function lend (pool: Pool): Promise<PoolClient> {
  return await new Promise((resolve, reject) => {
    pool.connect((error, client) => {
      if (client === undefined) return reject(error)
      client.on('error', ignore)
      resolve(client)
    })
  })
}

/** A `broken` client is closed; any other waits in the pool for the next. */
export function giveBack (client: PoolClient, broken: boolean): void {
  client.off('error', ignore)
  client.release(broken)
}

/** An `error` listener for what is told in another way too. */
export function ignore (): void {}
