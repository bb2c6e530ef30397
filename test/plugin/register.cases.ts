import postgres from '@fastify/postgres'
import redis from '@fastify/redis'
import Fastify, { type FastifyInstance } from 'fastify'
import pg from 'pg'
import t, { type Test } from 'tap'
import messageJournal, { errors, messageJournal as named } from '../../plugin/index.js'
import { freePort } from '../../servers/server-process.js'
import { askRedis, startRedis } from '../../servers/redis.js'
import { connect, ids } from '../helper/sse.js'
import { createTestDatabase } from '../helper/database.js'
import { startApp } from '../helper/app.js'
import { addMessage } from '../helper/journal.js'

const redisUrl = process.env.TEST_REDIS_URL ?? ''
const identify = () => 'ada'

function createApp (t: Test): FastifyInstance {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  return app
}

/** An app with the two plugins that the journal needs. */
async function createBase (t: Test, url = redisUrl): Promise<FastifyInstance> {
  const app = createApp(t)
  await app.register(postgres, { connectionString: await createTestDatabase(t) })
  await app.register(redis, { url })
  return app
}

/** Records an event and reads it back over HTTP. */
async function proveItWorks (t: Test, app: FastifyInstance, pg = app.pg): Promise<void> {
  const messageId = await addMessage({ pg })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  const reader = await connect(t, `${url}/messages/${messageId}/events`)
  t.ok(await app.journal.recordEvent(messageId, 0, 'answer', {}))
  t.ok(await app.journal.recordEvent(messageId, 1, 'end', { type: 'end' }))
  await reader.ended
  t.same(ids(reader), ['0', '1'])
}

t.test('the plugin is the default export, a named one, and what require() gives', async (t) => {
  t.equal(named, messageJournal)
  t.type(messageJournal, 'function')
  t.equal(Reflect.get(messageJournal, Symbol.for('skip-override')), true, 'it decorates the app that registers it')
  t.type(errors.InvalidOptionError, 'function')
})

t.test('registering without @fastify/postgres names it', async (t) => {
  const app = createApp(t)
  await app.register(redis, { url: redisUrl })
  await t.rejects(async () => { await app.register(messageJournal, { identify }) }, { message: /'@fastify\/postgres' of plugin 'fastify-message-journal' is not registered/ })
})

t.test('registering without @fastify/redis names it', async (t) => {
  const app = createApp(t)
  await app.register(postgres, { connectionString: await createTestDatabase(t) })
  await t.rejects(async () => { await app.register(messageJournal, { identify }) }, { message: /'@fastify\/redis' of plugin 'fastify-message-journal' is not registered/ })
})

t.test('registering without identify, or with another wrong option, is refused', async (t) => {
  const app = await createBase(t)
  // @ts-expect-error identify is required
  await t.rejects(async () => { await app.register(messageJournal, {}) }, { code: 'FST_JOURNAL_INVALID_OPTION', message: /"identify" must be a function/ })
})

t.test('a wrong option is refused before anything is opened', async (t) => {
  const app = await createBase(t)
  await t.rejects(async () => { await app.register(messageJournal, { identify, keepaliveMs: 0 }) }, { code: 'FST_JOURNAL_INVALID_OPTION' })
  t.notOk(app.hasDecorator('journal'))
})

t.test('a prefix that the header Location could not name is refused', async (t) => {
  for (const prefix of ['/v1/:tenant', '/*', '//elsewhere', '/a b', '/a?b', '/:id(^\\d+)']) {
    const app = await createBase(t)
    await t.rejects(async () => { await app.register(messageJournal, { identify, prefix }) }, { code: 'FST_JOURNAL_INVALID_OPTION', message: /option "prefix".* got "/ }, prefix)
    t.notOk(app.hasDecorator('journal'))
  }
  const app = await createBase(t)
  await t.rejects(async () => {
    await app.register(async (tenant) => { await tenant.register(messageJournal, { identify, prefix: '/api' }) }, { prefix: '/v1/:tenant' })
  }, { code: 'FST_JOURNAL_INVALID_OPTION', message: /got "\/v1\/:tenant"/ })
})

t.test('registering twice is refused, and leaves nothing behind', async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const app = await createBase(t, server.url)
  await app.register(messageJournal, { identify, migrate: true })
  await t.rejects(async () => { await app.register(messageJournal, { identify, prefix: '/again' }) }, { message: /'journal' has already been added/ })
  await app.close()
  t.match(await askRedis(server.url, 'INFO', 'clients'), /connected_clients:1\b/, 'nobody is connected but who asks')
})

t.test('a route of the app\'s own in the same place is refused, and leaves nothing behind', async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const app = await createBase(t, server.url)
  app.get('/messages/:messageId/events', async () => 'mine')
  await t.rejects(async () => { await app.register(messageJournal, { identify, migrate: true }) }, { code: 'FST_ERR_DUPLICATED_ROUTE' })
  await app.close()
  t.match(await askRedis(server.url, 'INFO', 'clients'), /connected_clients:1\b/, 'nobody is connected but who asks')
})

t.test('a frozen options object is accepted and not changed', async (t) => {
  const app = await createBase(t)
  const options = Object.freeze({ identify, migrate: true })
  await app.register(messageJournal, options)
  t.strictSame(options, { identify, migrate: true })
  await proveItWorks(t, app)
})

t.test('a named @fastify/postgres and a namespaced @fastify/redis are used', async (t) => {
  const app = createApp(t)
  await app.register(postgres, { connectionString: await createTestDatabase(t), name: 'answers' })
  await app.register(redis, { url: redisUrl, namespace: 'hints' })
  await app.register(messageJournal, { identify, migrate: true, postgres: 'answers', redis: 'hints' })
  await proveItWorks(t, app, Object(app.pg).answers)
})

t.test('a name that no @fastify/postgres has is refused by the option\'s name', async (t) => {
  const app = await createBase(t)
  await t.rejects(async () => { await app.register(messageJournal, { identify, postgres: 'answers' }) }, {
    code: 'FST_JOURNAL_INVALID_OPTION', message: /"postgres": no @fastify\/postgres is registered under the name "answers"/
  })
})

t.test('one that has a name must be named', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(postgres, { connectionString: await createTestDatabase(t), name: 'answers' })
  await app.register(redis, { url: process.env.TEST_REDIS_URL ?? '' })
  await t.rejects(async () => { await app.register(messageJournal, { identify }) }, { message: /"postgres": no @fastify\/postgres is registered without a name/ })
})

t.test('a namespace that no @fastify/redis has is refused by the option\'s name', async (t) => {
  const app = await createBase(t)
  await t.rejects(async () => { await app.register(messageJournal, { identify, redis: 'hints' }) }, {
    code: 'FST_JOURNAL_INVALID_OPTION', message: /"redis": no @fastify\/redis is registered under the namespace "hints"/
  })
})

for (const [option, named] of [['postgres', { redis: 'hints' }], ['redis', { postgres: 'answers' }]] as const) {
  t.test(`a plugin that has a name is refused by the option "${option}" that should name it`, async (t) => {
    const app = createApp(t)
    await app.register(postgres, { connectionString: await createTestDatabase(t), name: 'answers' })
    await app.register(redis, { url: redisUrl, namespace: 'hints' })
    await t.rejects(async () => { await app.register(messageJournal, { identify, ...named }) }, { code: 'FST_JOURNAL_INVALID_OPTION', message: new RegExp(`"${option}": no @fastify/${option}`) })
  })
}

t.test('the start fails when the tables are missing', async (t) => {
  const app = await createBase(t)
  await app.register(messageJournal, { identify })
  await t.rejects(async () => { await app.ready() }, { code: 'FST_JOURNAL_NOT_MIGRATED', message: /at version 0 and this code needs \d/ })
})

t.test('the start fails when the tables are newer than the code', async (t) => {
  const app = await createBase(t)
  await app.register(messageJournal, { identify, migrate: true })
  await app.pg.query('insert into journal_schema_version (version, name) values (999, \'future\')')
  await t.rejects(async () => { await app.ready() }, { code: 'FST_JOURNAL_DATABASE_NEWER', message: /999/ })
})

t.test('tables in a schema of their own are found, and those elsewhere are not', async (t) => {
  const databaseUrl = await createTestDatabase(t)
  const { app } = await startApp(t, { databaseUrl, schema: 'a "journal"' })
  const { from, to } = await app.journal.migrate()
  t.equal(from, to, 'the option has done it')
  const other = createApp(t)
  await other.register(postgres, { connectionString: databaseUrl })
  await other.register(redis, { url: redisUrl })
  await other.register(messageJournal, { identify })
  await t.rejects(async () => { await other.ready() }, { code: 'FST_JOURNAL_NOT_MIGRATED' })
})

t.test('identify: false is logged as a warning at the start', async (t) => {
  const { lines } = await startApp(t, { identify: false })
  t.match(lines.filter(({ level }) => level === 40), [{ msg: /"identify" is false, so everyone may read every message/ }])
  t.equal((await startApp(t)).lines.filter(({ level }) => level >= 40).length, 0, 'and nothing else is')
})

t.test('a Postgres that is away does not keep the app from starting; a reader is told with 503', async (t) => {
  const { app, url, lines } = await startApp(t, { databaseUrl: `postgres://127.0.0.1:${await freePort()}/nowhere`, migrate: false })
  t.match(lines.find(({ level }) => level >= 50), { msg: /Postgres cannot be reached; events and readers will wait for it/, err: { message: /ECONNREFUSED/ } })
  const reader = await connect(t, `${url}/api/messages/0198c0de-7a1e-7c3b-9d6e-0a4c9a1f0001/events`)
  await reader.ended
  t.equal(reader.status, 503)
  t.match(JSON.parse(reader.raw), { statusCode: 503, code: 'FST_JOURNAL_DATABASE_UNAVAILABLE' })
  t.equal(app.journal.stats().viewers, 0)
})

t.test('an idle connection that Postgres ends, or a Redis connection that fails, is logged and costs nothing', async (t) => {
  const { app, url, databaseUrl, lines } = await startApp(t)
  const messageId = await addMessage(app)
  const ended = new Promise((resolve) => { app.pg.pool.once('error', resolve) })
  const client = await app.pg.connect()
  const { rows: [self] } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  client.release()
  const killer = new pg.Client({ connectionString: databaseUrl })
  await killer.connect()
  await killer.query('select pg_terminate_backend($1)', [self?.pid])
  await killer.end()
  await ended
  app.redis.emit('error', new Error('a socket failed'))
  t.match(lines.filter(({ level }) => level === 40), [
    { msg: 'journal: an idle Postgres connection failed', err: { code: '57P01' } },
    { msg: 'journal: the Redis connection failed', err: { message: 'a socket failed' } }
  ])
  const reader = await connect(t, `${url}/api/messages/${messageId}/events`)
  await app.journal.recordEvent(messageId, 0, 'end')
  await reader.ended
  t.same(ids(reader), ['0'])
})
