import { KindGuard, type TSchema } from '@sinclair/typebox'
import { readFile } from 'node:fs/promises'
import t from 'tap'
import ts from 'typescript'
import { OptionsSchema, parseOptions, type MessageJournalOptions, type NotificationOptions } from '../../plugin/options.js'

const identify = () => 'ada'

const REFUSED_NOTIFICATIONS: Record<keyof NotificationOptions, unknown[]> = {
  streamMaxEntries: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  replayMaxPerRequest: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  replayMaxAgeHours: [null, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  maxReplaysPerUser: [null, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  replayWindowMs: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  progressMs: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31]
}

const REFUSED: Record<keyof MessageJournalOptions, unknown[]> = {
  prefix: [null, 1, {}],
  identify: [undefined, null, true, 'user', {}],
  authorize: [null, true, 'user'],
  publicError: [null, 'Sorry'],
  takeOver: [null, true, 'me'],
  migrate: [null, 'yes', 1],
  schema: [null, '', 'x'.repeat(64), 1],
  postgres: [null, '', 1],
  redis: [null, '', 1],
  terminalTypes: [null, 'end', [], [''], [1], ['end'], ['error'], ['done']],
  eventNames: [null, 'yes', 0],
  maxPayloadBytes: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  maxPendingBytes: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  writeRetryMs: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  maxDoubtMs: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  maxConcurrentReads: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  reconcileMs: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  heartbeatMs: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  producerIdleMs: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  producerSilenceMs: [null, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  stallTimeoutMs: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  maxConnectionsPerUser: [null, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  notifications: [null, true, 'no', 0, []],
  overload: [null, '', 'inband', true],
  retentionDays: [null, -1, 1.5, '1', NaN, Infinity, 36_501],
  keepaliveMs: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31],
  retryMs: [null, 0, -1, 1.5, '1', NaN, Infinity, 2 ** 31]
}

t.test('identify is all that an app must say', async (t) => {
  t.same(parseOptions({ identify }), {
    identify,
    migrate: false,
    terminalTypes: ['end', 'error'],
    eventNames: false,
    maxPayloadBytes: 1_048_576,
    maxPendingBytes: 16_777_216,
    writeRetryMs: 10_000,
    maxDoubtMs: 60_000,
    maxConcurrentReads: 8,
    reconcileMs: 5_000,
    heartbeatMs: 10_000,
    producerIdleMs: 90_000,
    producerSilenceMs: 3_600_000,
    stallTimeoutMs: 60_000,
    maxConnectionsPerUser: 8,
    notifications: true,
    streamMaxEntries: 1_000,
    replayMaxPerRequest: 200,
    replayMaxAgeHours: 24,
    maxReplaysPerUser: 30,
    replayWindowMs: 60_000,
    progressMs: 200,
    overload: 'status',
    retentionDays: 14,
    keepaliveMs: 15_000,
    retryMs: 2_000
  })
  t.equal(parseOptions({ identify }).identify, identify)
  t.equal(parseOptions({ identify: false }).identify, false)
})

t.test('every option of the schema is in the table of wrong values', async (t) => {
  t.same(Object.keys(REFUSED).toSorted(), Object.keys(OptionsSchema.properties).toSorted())
})

for (const [name, values] of Object.entries(REFUSED)) {
  t.test(`a wrong "${name}" is refused by its name`, async (t) => {
    for (const value of values) {
      t.throws(() => parseOptions({ identify, [name]: value }), {
        code: 'FST_JOURNAL_INVALID_OPTION', message: new RegExp(`^fastify-message-journal: option "${name}[".]`)
      }, `${name}: ${JSON.stringify(value) ?? String(value)}`)
    }
  })
}

for (const [name, values] of Object.entries(REFUSED_NOTIFICATIONS)) {
  t.test(`a wrong "notifications.${name}" is refused by its name`, async (t) => {
    for (const value of values) {
      t.throws(() => parseOptions({ identify, notifications: { [name]: value } }), {
        code: 'FST_JOURNAL_INVALID_OPTION', message: new RegExp(`^fastify-message-journal: option "notifications.${name}"`)
      }, `${name}: ${JSON.stringify(value) ?? String(value)}`)
    }
  })
}

t.test('the options of the notifications have defaults, with and without notifications', async (t) => {
  const { streamMaxEntries, replayMaxPerRequest, notifications } = parseOptions({ identify, notifications: { streamMaxEntries: 7, replayMaxPerRequest: undefined } })
  t.strictSame({ streamMaxEntries, replayMaxPerRequest, notifications }, { streamMaxEntries: 7, replayMaxPerRequest: 200, notifications: true })
  t.match(parseOptions({ identify, notifications: false }), { notifications: false, progressMs: 200 })
  t.throws(() => parseOptions({ identify, notifications: { push: true } }), { message: /"notifications.push"/ })
})

t.test('the refusal says what is wanted and what was given', async (t) => {
  t.throws(() => parseOptions({ identify, keepaliveMs: '15s' }), { message: /"keepaliveMs": expected integer; got "15s" \(How often/ })
  t.throws(() => parseOptions({ identify, keepaliveMs: 0 }), { message: /"keepaliveMs": .*greater or equal to 1; got 0/ })
  t.throws(() => parseOptions({ identify, keepaliveMs: NaN }), { message: /"keepaliveMs": .*; got NaN/ })
  t.throws(() => parseOptions({ identify, overload: 'inband' }), { message: /"overload": expected "status" or "in-band"; got "inband"/ })
  t.throws(() => parseOptions({ identify, terminalTypes: ['end', 'error', 1] }), { message: /"terminalTypes.2": expected string; got 1/ })
  t.throws(() => parseOptions({ identify, terminalTypes: ['end'] }), { message: /"terminalTypes" must contain "error"; got \["end"\]/ })
  t.throws(() => parseOptions({ identify, producerIdleMs: 9_000 }), { message: /"producerIdleMs" must be larger than "heartbeatMs", which is 10000; got 9000/ })
  t.throws(() => parseOptions({ identify, heartbeatMs: 90_000 }), { message: /"producerIdleMs" must be larger than "heartbeatMs", which is 90000; got 90000/ })
  t.throws(() => parseOptions({ identify, prefix: () => '/api' }), { message: /"prefix": expected string; got a function/ })
  t.throws(() => parseOptions({}), { message: /"identify" must be a function .*, or false to let everyone read everything; got undefined/ })
})

t.test('a value that JSON cannot show is refused by its name all the same', async (t) => {
  const cycle: Record<string, unknown> = {}
  cycle.self = cycle
  for (const value of [1n, cycle, Symbol('s'), [1n]]) {
    t.throws(() => parseOptions({ identify, keepaliveMs: value }), { code: 'FST_JOURNAL_INVALID_OPTION', message: /"keepaliveMs"/ })
  }
})

t.test('an option that does not exist is refused by its name', async (t) => {
  for (const name of ['keepAliveMs', 'keepalive', 'constructor', '__proto__x']) {
    t.throws(() => parseOptions({ identify, [name]: 1 }), { code: 'FST_JOURNAL_INVALID_OPTION', message: new RegExp(`"${name}"`) })
  }
})

t.test('every option has a description, and every limit a unit in its name', async (t) => {
  const nested = OptionsSchema.properties.notifications.anyOf[0].properties
  for (const [name, schema] of Object.entries<TSchema>({ ...OptionsSchema.properties, ...nested })) {
    const schemas: TSchema[] = KindGuard.IsUnion(schema) ? [schema, ...schema.anyOf] : [schema]
    t.ok(schemas.some(({ description }) => typeof description === 'string'), `${name} is described`)
    if (KindGuard.IsInteger(schema)) t.match(name, /(Ms|Bytes|Reads|Days|Hours|Entries|PerUser|PerRequest)$/)
  }
})

t.test('what an editor shows of each option is what the schema has', async (t) => {
  const source = ts.createSourceFile('options.ts', await readFile(new URL('../../plugin/options.ts', import.meta.url), 'utf8'), ts.ScriptTarget.Latest, true)
  const shown = new Map<string, Map<string, string | undefined>>()
  for (const statement of source.statements) {
    if (!ts.isInterfaceDeclaration(statement)) continue
    shown.set(statement.name.text, new Map(statement.members.map((member) => {
      const defaultTag = ts.getJSDocTags(member).find(({ tagName }) => tagName.text === 'defaultValue')
      t.ok(ts.getJSDocCommentsAndTags(member).length > 0, `${member.name?.getText()} has a comment`)
      return [String(member.name?.getText()), ts.getTextOfJSDocComment(defaultTag?.comment)]
    })))
  }
  for (const [name, { properties }] of [['MessageJournalOptions', OptionsSchema], ['NotificationOptions', OptionsSchema.properties.notifications.anyOf[0]]] as const) {
    const wanted = Object.entries<TSchema>(properties).map(([name, schema]) => [name, name === 'notifications' ? undefined : JSON.stringify(schema.default)])
    t.strictSame([...shown.get(name) ?? []].toSorted(), wanted.toSorted(), name)
  }
})

t.test('an option that is undefined has its default', async (t) => {
  t.equal(parseOptions({ identify, keepaliveMs: undefined, authorize: undefined }).keepaliveMs, 15_000)
})

t.test('what is passed is kept', async (t) => {
  const passed: MessageJournalOptions = {
    identify, authorize: () => true, publicError: () => 'Sorry', prefix: '/api', schema: 'journal', postgres: 'main', redis: 'main', terminalTypes: ['end', 'error', 'done'], retryMs: 1
  }
  t.match(parseOptions(passed), passed)
})

t.test('the caller\'s object is not changed, and may be frozen', async (t) => {
  const passed = Object.freeze({ identify, terminalTypes: Object.freeze(['end', 'error']) })
  parseOptions(passed)
  t.strictSame(Object.keys(passed), ['identify', 'terminalTypes'])
})

t.test('the defaults of one registration are not those of another', async (t) => {
  const first = parseOptions({ identify })
  first.terminalTypes.push('done')
  t.same(parseOptions({ identify }).terminalTypes, ['end', 'error'])
})

t.test('Fastify\'s own register options are no options of the journal', async (t) => {
  t.notHas(parseOptions({ identify, logLevel: 'warn', logSerializers: {} }), { logLevel: 'warn' })
})
