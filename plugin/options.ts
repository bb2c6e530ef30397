import { KindGuard, Type, type Static, type TSchema } from '@sinclair/typebox'
import { TypeCompiler, type ValueError } from '@sinclair/typebox/compiler'
import type { FastifyRequest } from 'fastify'
import { InvalidOptionError } from './errors.js'
import type { MessageStatus } from './wire/status.js'
import type { Message } from './message-handle.js'
import { describeValue } from './wire/text.js'

/** What `authorize` is told of the message. */
export interface AuthorizedMessage {
  messageId: string
  userId: string | null
  status: MessageStatus
  createdAt: Date
}

/** Who is asking. `null`, `undefined`, `false` and `''` mean nobody: the answer is 401. */
export type Identify = (request: FastifyRequest) => UserId | Promise<UserId>
export type UserId = string | number | bigint | false | null | undefined

/** Whether the caller may read or stop the message; takes the place of "it is the message's user". */
export type Authorize = (request: FastifyRequest, message: AuthorizedMessage, action: 'read' | 'stop') => boolean | Promise<boolean>

/** The text of the error that readers see, of a message or of a tracked task. */
export type PublicError = (error: unknown, about: { userId: string | null, messageId?: string, taskId?: string }) => string

/**
 * Somebody who goes on with a message whose producer is gone, behind its last event. This process has claimed the message; what is
 * returned runs as `streamMessage` runs its producer, and `null` lets the message end as one whose producer died.
 */
export type TakeOver = (message: Message, about: { lost: 'stale' | 'closed' }) => Continue | Promise<Continue>
export type Continue = ((message: Message) => unknown) | null

/** A century; Postgres' clock does not go back as far as the largest integer. */
export const MAX_RETENTION_DAYS = 36_500

function fn<T> (description: string) {
  return Type.Unsafe<T>(Type.Function([], Type.Unknown(), { description }))
}

const positive = (description: string, value: number) => Type.Integer({ description, default: value, minimum: 1, maximum: 2_147_483_647 })

const notNegative = (description: string, value: number) => Type.Integer({ description, default: value, minimum: 0, maximum: 2_147_483_647 })

/** Every option, its default and its unit; the README's table says the same. */
export const OptionsSchema = Type.Object({
  prefix: Type.Optional(Type.String({ description: 'The routes\' prefix' })),
  identify: Type.Union([fn<Identify>('Who is asking'), Type.Literal(false)]),
  authorize: Type.Optional(fn<Authorize>('Whether the caller may read a message')),
  publicError: Type.Optional(fn<PublicError>('What readers see of a producer\'s error')),
  takeOver: Type.Optional(fn<TakeOver>('Who goes on with a message whose producer is gone')),
  migrate: Type.Boolean({ description: 'Migrate the tables at start', default: false }),
  schema: Type.Optional(Type.String({ description: 'The Postgres schema of the tables', minLength: 1, maxLength: 63 })),
  postgres: Type.Optional(Type.String({ description: 'The name that @fastify/postgres was registered with', minLength: 1 })),
  redis: Type.Optional(Type.String({ description: 'The namespace that @fastify/redis was registered with', minLength: 1 })),
  terminalTypes: Type.Array(Type.String({ minLength: 1 }), { description: 'The event types that end a message', default: ['end', 'error'], minItems: 1 }),
  eventNames: Type.Boolean({ description: 'Whether frames have an event: line', default: false }),
  maxPayloadBytes: positive('The largest payload, as JSON', 1_048_576),
  maxPendingBytes: positive('How much may wait for Postgres in this process', 16_777_216),
  writeRetryMs: positive('How long an event waits for Postgres', 10_000),
  maxDoubtMs: positive('How long an event that was sent and got no answer waits until it has been looked for', 60_000),
  maxConcurrentReads: positive('How many reads of the journal are under way at once', 8),
  reconcileMs: positive('How often open viewers are compared with the journal', 5_000),
  heartbeatMs: positive('How often producers\' leases are renewed', 10_000),
  producerIdleMs: positive('After how long without a sign of life a producer counts as dead', 90_000),
  producerSilenceMs: notNegative('After how long without an event a producer is ended although it lives; 0: never', 3_600_000),
  stallTimeoutMs: positive('After how long without progress a blocked socket is destroyed', 60_000),
  maxConnectionsPerUser: notNegative('How many streams a user may have open; 0: no limit', 8),
  push: Type.Boolean({ description: 'Whether there are notifications', default: true }),
  streamMaxEntries: positive('About how many notifications are kept for a user', 1_000),
  replayMaxPerRequest: positive('How many notifications are replayed in one response', 200),
  replayMaxAgeHours: Type.Integer({ description: 'How old a notification may be when it is replayed; 0: no limit', default: 24, minimum: 0, maximum: 876_000 }),
  maxReplaysPerUser: notNegative('How often a user may have notifications replayed within replayWindowMs; 0: no limit', 30),
  replayWindowMs: positive('The time in which maxReplaysPerUser is spent', 60_000),
  progressMs: positive('How often a tracked task tells its progress', 200),
  overload: Type.Union([Type.Literal('status'), Type.Literal('in-band')], { description: 'Whether a reader who is turned away gets a status, or 200 and a busy event', default: 'status' }),
  retentionDays: Type.Integer({ description: 'After how many days events are deleted; 0: never', default: 14, minimum: 0, maximum: MAX_RETENTION_DAYS }),
  keepaliveMs: positive('How often an open response gets a comment', 15_000),
  retryMs: positive('The mean wait that clients are told to keep before they reconnect', 2_000)
}, { additionalProperties: false })

export type JournalOptions = Static<typeof OptionsSchema>

/** What the app passes to `register`: every option that has a default may be left out. */
export type MessageJournalOptions = Partial<JournalOptions> & Pick<JournalOptions, 'identify'>

const compiled = TypeCompiler.Compile(OptionsSchema)

const DEFAULTS = Object.fromEntries(Object.entries(OptionsSchema.properties)
  .flatMap(([name, schema]) => schema.default === undefined ? [] : [[name, schema.default]]))

/** Fastify's own register options, which reach every plugin. */
const FASTIFY_OPTIONS = new Set(['logLevel', 'logSerializers'])

/**
 * The options with their defaults; what was passed is not changed.
 * @throws InvalidOptionError with the option's name and the reason.
 */
export function parseOptions (passed: object): JournalOptions {
  const own = Object.fromEntries(Object.entries(passed).filter(([name, value]) => value !== undefined && !FASTIFY_OPTIONS.has(name)))
  const options: unknown = { ...structuredClone(DEFAULTS), ...own }
  const [error] = compiled.Errors(options)
  if (error !== undefined) throw new InvalidOptionError(describe(error))
  const sound = options as JournalOptions // there is no error
  checkTerminalTypes(sound)
  checkLease(sound)
  return sound
}

/** `message.end` and `message.fail` write these two; a set without them would leave their readers waiting. */
function checkTerminalTypes ({ terminalTypes }: JournalOptions): void {
  for (const type of ['end', 'error']) {
    if (!terminalTypes.includes(type)) throw new InvalidOptionError(`"terminalTypes" must contain "${type}"; got ${describeValue(terminalTypes)}`)
  }
}

/** A lease that runs out before it is renewed would have every live producer taken for dead. */
function checkLease ({ heartbeatMs, producerIdleMs }: JournalOptions): void {
  if (producerIdleMs <= heartbeatMs) throw new InvalidOptionError(`"producerIdleMs" must be larger than "heartbeatMs", which is ${heartbeatMs}; got ${producerIdleMs}`)
}

function describe (error: ValueError): string {
  const name = error.path.slice(1).replaceAll('/', '.')
  if (name === 'identify') {
    return `"identify" must be a function from the request to the user's id, or false to let everyone read everything; got ${describeValue(error.value)}`
  }
  return `"${name}": ${wanted(error)}; got ${describeValue(error.value)}${descriptionOf(error.schema)}`
}

function wanted ({ schema, message }: ValueError): string {
  const literals = KindGuard.IsUnion(schema) ? schema.anyOf.filter((one) => KindGuard.IsLiteral(one)) : []
  return literals.length === 0 ? message.toLowerCase() : `expected ${literals.map((literal) => describeValue(literal.const)).join(' or ')}`
}

function descriptionOf (schema: TSchema): string {
  return schema.description === undefined ? '' : ` (${schema.description})`
}
