import type { FastifyInstance } from 'fastify'
import type {} from '@fastify/postgres'
import type { Pool } from 'pg'
import { DatabaseNewerError, InvalidOptionError, NotMigratedError } from './errors.js'
import { latestVersion, schemaVersion } from './migrate.js'
import type { JournalOptions } from './options.js'
import type { Redis } from './redis.js'

/** The pool of the app's @fastify/postgres. @throws InvalidOptionError */
export function postgresOf (app: FastifyInstance, { postgres }: JournalOptions): Pool {
  const pool = postgres === undefined ? app.pg.pool : app.pg[postgres]?.pool
  if (pool === undefined) throw new InvalidOptionError(`"postgres": no @fastify/postgres is registered ${postgres === undefined ? 'without a name' : `under the name ${JSON.stringify(postgres)}`}`)
  return pool
}

/** The client of the app's @fastify/redis. @throws InvalidOptionError */
export function redisOf (app: FastifyInstance, { redis }: JournalOptions): Redis {
  const client = redis === undefined ? app.redis : app.redis[redis]
  if (typeof client?.duplicate !== 'function') throw new InvalidOptionError(`"redis": no @fastify/redis is registered ${redis === undefined ? 'without a namespace' : `under the namespace ${JSON.stringify(redis)}`}`)
  return client
}

/**
 * Fails the start when the tables are not the ones this code needs; a server that is away is no reason not to start.
 * @throws NotMigratedError, DatabaseNewerError
 */
export async function checkTables (app: FastifyInstance, pool: Pool, schema: { schema?: string }): Promise<void> {
  const needed = await latestVersion()
  const version = await schemaVersion(pool, schema).catch((error: unknown) => {
    app.log.error({ err: error }, 'journal: Postgres cannot be reached; events and readers will wait for it')
    return needed
  })
  if (version < needed) throw new NotMigratedError(version, needed)
  if (version > needed) throw new DatabaseNewerError(version, needed)
}
