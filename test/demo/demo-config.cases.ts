import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'tap'
import { createAnswerer } from '../../demo/answers/index.js'
import { ConfigError, readConfig } from '../../demo/config.js'
import { loadSessionSecret } from '../../demo/session.js'

test('an empty environment gives the documented defaults', async (t) => {
  const config = readConfig({ PORT: '', TOKENS_PER_SECOND: ' ' })
  t.match(config, { host: '127.0.0.1', port: 3000, portIsFixed: false, tokensPerSecond: 40, logLevel: 'warn' })
  t.match(config.dataDir, /[\\/]\.demo$/)
  t.same([config.databaseUrl, config.redisUrl, config.openai, config.sessionSecret], [undefined, undefined, undefined, undefined])
})

test('every variable is read', async (t) => {
  const secret = 's'.repeat(32)
  t.match(readConfig({
    HOST: '0.0.0.0',
    PORT: '0',
    DATABASE_URL: 'postgres://h/db',
    REDIS_URL: 'rediss://h',
    TOKENS_PER_SECOND: '2.5',
    OPENAI_BASE_URL: 'http://127.0.0.1:11434/v1',
    OPENAI_MODEL: 'm',
    OPENAI_API_KEY: 'k',
    SESSION_SECRET: secret,
    LOG_LEVEL: 'silent',
    DEMO_DATA_DIR: 'elsewhere'
  }), {
    host: '0.0.0.0',
    port: 0,
    portIsFixed: true,
    databaseUrl: 'postgres://h/db',
    redisUrl: 'rediss://h',
    tokensPerSecond: 2.5,
    openai: { baseUrl: 'http://127.0.0.1:11434/v1', model: 'm', apiKey: 'k' },
    sessionSecret: secret,
    logLevel: 'silent',
    dataDir: 'elsewhere'
  })
})

test('a wrong variable is refused by its name, without showing a secret', async (t) => {
  for (const [name, value, message] of [
    ['PORT', 'abc', 'PORT must be a whole number from 0 to 65535, not "abc"'],
    ['PORT', '65536', 'PORT must be a whole number from 0 to 65535, not "65536"'],
    ['PORT', '-1', 'PORT must be a whole number from 0 to 65535, not "-1"'],
    ['PORT', '80.5', 'PORT must be a whole number from 0 to 65535, not "80.5"'],
    ['TOKENS_PER_SECOND', 'abc', 'TOKENS_PER_SECOND must be a number above 0, not "abc"'],
    ['TOKENS_PER_SECOND', '0', 'TOKENS_PER_SECOND must be a number above 0, not "0"'],
    ['DATABASE_URL', 'mysql://root:secret@h', 'DATABASE_URL must be a URL that starts with postgres:// or postgresql://'],
    ['REDIS_URL', '127.0.0.1:6379', 'REDIS_URL must be a URL that starts with redis:// or rediss://'],
    ['OPENAI_BASE_URL', 'localhost', 'OPENAI_BASE_URL must be a URL that starts with http:// or https://'],
    ['SESSION_SECRET', 'secret', 'SESSION_SECRET must have at least 32 characters, not 6'],
    ['LOG_LEVEL', 'loud', 'LOG_LEVEL must be one of fatal, error, warn, info, debug, trace, silent, not "loud"']
  ] as const) t.throws(() => readConfig({ [name]: value }), new ConfigError(message), `${name}=${value}`)
})

test('the session secret is made once, for its owner only, and then kept', async (t) => {
  const folder = join(t.testdir(), 'new')
  const secret = await loadSessionSecret(folder)
  t.ok(secret.length >= 32)
  t.equal(await loadSessionSecret(folder), secret)
  t.same(await readdir(folder), ['session-secret'])
  t.equal((await stat(join(folder, 'session-secret'))).mode & 0o777, 0o600)
})

test('a session secret too short to be one is refused, and left as it is', async (t) => {
  const folder = t.testdir()
  const file = join(folder, 'session-secret')
  await writeFile(file, 'short\n')
  await t.rejects(loadSessionSecret(folder), /session-secret is too short to be a secret/)
  t.equal(await readFile(file, 'utf8'), 'short\n')
})

test('a data folder that cannot be written is an error', async (t) => {
  const folder = t.testdir({ 'session-secret': {} })
  await t.rejects(loadSessionSecret(join(folder, 'session-secret', 'x', '\0')), { code: 'ERR_INVALID_ARG_VALUE' })
  await t.rejects(loadSessionSecret(folder), { code: 'EISDIR' })
})

test('the bundled passages answer unless OPENAI_BASE_URL names a server', async (t) => {
  const passages = await createAnswerer({ tokensPerSecond: 40 })
  t.match(passages.name, /passages, 40 tokens a second/)

  const first = await createAnswerer({ tokensPerSecond: 40, openai: { baseUrl: 'http://user:secret@h:1/v1' } })
  t.equal(first.name, 'the first model of http://h:1')
  const named = await createAnswerer({ tokensPerSecond: 40, openai: { baseUrl: 'http://h:1/v1', model: 'm' } })
  t.equal(named.name, 'm of http://h:1')
})
