import { createServer } from 'node:net'
import pg from 'pg'
import { test } from 'tap'
import { failureKind, type FailureKind } from '../../plugin/postgres/failures.js'
import { createTestDatabase } from '../helper/database.js'
import { listenOnFreePort } from '../helper/free-port.js'

/** What a server's error looks like, as far as it is looked at. */
const failure = (code: unknown) => Object.assign(new Error('no'), { code, severity: 'ERROR' })

const kinds: Record<FailureKind, string[]> = {
  transient: [
    '08000', '08003', '08006', '08P01', '25006', '25P03', '40001', '40P01', '53000', '53100', '53200', '53300', '55000', '55006',
    '57014', '57P01', '57P02', '57P03', '58000', '58030'
  ],
  stale: ['26000', '42P05', '0A000'],
  locked: ['55P03'],
  taken: ['23505'],
  data: ['22000', '22P02', '22021', '23502', '23503', '23514', '54000', '54001', 'P0001', 'P0002', '42501', '44000', '27000', '38000', 'ZZ001'],
  permanent: ['28P01', '3D000', '3F000', '42P01', '42703', '42601']
}

for (const [kind, codes] of Object.entries(kinds)) {
  test(`SQLSTATEs that are ${kind}`, (t) => {
    for (const code of codes) t.equal(failureKind(failure(code)), kind, code)
    t.end()
  })
}

test('an error that no server sent is transient', (t) => {
  const errors = [
    new Error('Connection terminated unexpectedly'),
    Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED', errno: -111, syscall: 'connect' }),
    Object.assign(new Error('a code that looks like a SQLSTATE'), { code: '42P01' }),
    failure(undefined), failure(7), null, undefined, 'text', 42
  ]
  for (const error of errors) t.equal(failureKind(error), 'transient')
  t.end()
})

test('what Postgres and its client really throw', async (t) => {
  const connectionString = await createTestDatabase(t)
  const pool = new pg.Pool({ connectionString })
  pool.on('error', () => {})
  t.teardown(() => pool.end())
  const kindOf = async (sql: string): Promise<FailureKind | undefined> => await pool.query(sql).then(() => undefined, failureKind)
  await pool.query('create table t (id integer primary key check (id > 0), a text not null default \'\')')

  t.equal(await kindOf('insert into t values (1), (1)'), 'taken')
  t.equal(await kindOf('insert into t values (-1)'), 'data')
  t.equal(await kindOf('insert into t values (1, null)'), 'data')
  t.equal(await kindOf('insert into t values (2147483648)'), 'data')
  t.equal(await kindOf('select \'{"a":\'::json'), 'data')
  t.equal(await kindOf('do $$ begin raise exception \'no\'; end $$'), 'data')
  t.equal(await kindOf('insert into nowhere values (1)'), 'permanent')
  t.equal(await kindOf('set transaction_read_only = on; insert into t values (1)'), 'transient')
  t.equal(await kindOf('set statement_timeout = 1; select pg_sleep(10)'), 'transient')
  t.equal(await kindOf('select pg_terminate_backend(pg_backend_pid())'), 'transient')
})

test('a server that refuses connections, and one that cuts them, are transient', async (t) => {
  const server = createServer((socket) => socket.destroy())
  const port = await listenOnFreePort(server)
  const connect = async (): Promise<unknown> => await new pg.Client({ host: '127.0.0.1', port }).connect().catch((error: unknown) => error)

  t.equal(failureKind(await connect()), 'transient')
  await new Promise((resolve) => server.close(resolve))
  t.match(await connect(), { code: 'ECONNREFUSED' })
  t.equal(failureKind(await connect()), 'transient')
})
