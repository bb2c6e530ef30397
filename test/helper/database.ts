import { randomBytes } from 'node:crypto'
import pg from 'pg'

/** What is needed of a tap test. */
export interface Teardown {
  teardown: (handler: () => Promise<void>) => unknown
}

async function administer (url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}

/**
 * An empty database of the test's own; resolves to its URL. It is dropped when the test ends, with whoever is still
 * connected: tap runs the last teardown first, so a pool that is opened after this call is closed before the drop.
 */
export async function createTestDatabase (t: Teardown): Promise<string> {
  const server = process.env['TEST_DATABASE_URL']
  if (server === undefined) throw new Error('TEST_DATABASE_URL is not set: run the tests with `npm test [-- file …]`')
  const name = `journal_test_${process.pid}_${randomBytes(6).toString('hex')}`
  // template1 cannot be copied while anyone is connected to it
  await administer(server, `CREATE DATABASE ${name} TEMPLATE template0`)
  t.teardown(() => administer(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`))
  const url = new URL(server)
  url.pathname = `/${name}`
  return url.href
}
