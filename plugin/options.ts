import { KindGuard, Type, type Static, type TObject, type TSchema } from '@sinclair/typebox'
import { TypeCompiler, type ValueError } from '@sinclair/typebox/compiler'
import type { FastifyRequest } from 'fastify'
import { InvalidOptionError } from './errors.js'
import type { MessageStatus } from './wire/status.js'
import type { Message } from './message-handle.js'
import { isPlainObject } from './wire/payload.js'
import { describeValue } from './wire/text.js'

/** The message that `authorize` decides about. */
export interface AuthorizedMessage {
  /** A UUID in lower case. */
  messageId: string
  /** Whose message it is; `null`: nobody's. */
  userId: string | null
  /** As the table has it. */
  status: MessageStatus
  /** When its row was made. */
  createdAt: Date
}

/** Who is asking. `null`, `undefined`, `false` and `''` mean nobody: the answer is 401. */
export type Identify = (request: FastifyRequest) => UserId | Promise<UserId>
/** A user's id as an app has it; it is compared as text. */
export type UserId = string | number | bigint | false | null | undefined

/** Whether the caller may read or stop the message. Without it, only the message's user may. */
export type Authorize = (
  request: FastifyRequest, message: AuthorizedMessage, action: 'read' | 'stop'
) => boolean | Promise<boolean>

/** The text of the error that readers see, of a message or of a tracked task. */
export type PublicError = (
  error: unknown, about: { userId: string | null, messageId?: string, taskId?: string }
) => string

/**
 * Goes on with a message whose producer is gone, after its last event. This process has claimed the message. The
 * returned function runs as `streamMessage` runs its producer; `null` ends the message like one whose producer died.
 */
export type TakeOver = (message: Message, about: { lost: 'stale' | 'closed' }) => Continue | Promise<Continue>
/** A producer function, as `streamMessage` takes it; `null`: nobody goes on. */
export type Continue = ((message: Message) => unknown) | null

/** The options of the notifications. */
export interface NotificationOptions {
  /** About how many notifications are kept for a user. @defaultValue 1000 */
  streamMaxEntries?: number
  /** How many notifications are replayed in one response. @defaultValue 200 */
  replayMaxPerRequest?: number
  /** How old a notification may be when it is replayed, in hours; 0: no limit. @defaultValue 24 */
  replayMaxAgeHours?: number
  /** How often a user may have notifications replayed within `replayWindowMs`; 0: no limit. @defaultValue 30 */
  maxReplaysPerUser?: number
  /** The time in which `maxReplaysPerUser` is spent, in ms. @defaultValue 60000 */
  replayWindowMs?: number
  /** How often a tracked task tells its progress, in ms. @defaultValue 200 */
  progressMs?: number
}

/** What the app passes to `register`. Only `identify` is required. */
export interface MessageJournalOptions {
  /**
   * Returns the user's id for a request; may be asynchronous. Nobody is answered with 401. `false` in its place:
   * everyone may read every message, and the route of the notifications answers 401.
   */
  identify: Identify | false
  /** Whether the caller may read or stop the message. Without it, the message's user may. */
  authorize?: Authorize
  /** The text that readers see of a producer's or a task's error. Without it, a fixed sentence. */
  publicError?: PublicError
  /** Goes on with a message whose producer is gone. Without it, such a message ends with an error. */
  takeOver?: TakeOver
  /** The routes' prefix. */
  prefix?: string
  /** Whether the tables are migrated at start. @defaultValue false */
  migrate?: boolean
  /** The Postgres schema of the tables. Without it, the connection's search_path decides. */
  schema?: string
  /** The `name` that @fastify/postgres was registered with. */
  postgres?: string
  /** The `namespace` that @fastify/redis was registered with. */
  redis?: string
  /**
   * The event types that end a message without a lease, and that a producer may end its own message with. `end` and
   * `error` must be among them. @defaultValue ["end","error"]
   */
  terminalTypes?: string[]
  /** Whether frames have an `event:` line with the event's type. @defaultValue false */
  eventNames?: boolean
  /** The largest payload, as JSON, in bytes. @defaultValue 1048576 */
  maxPayloadBytes?: number
  /** How much may wait for Postgres in this process, in bytes. @defaultValue 16777216 */
  maxPendingBytes?: number
  /**
   * How long an event that was not sent, or was refused for the moment, waits for Postgres, in ms. @defaultValue 10000
   */
  writeRetryMs?: number
  /**
   * How long an event that was sent and got no answer waits until it has been looked for, in ms. @defaultValue 60000
   */
  maxDoubtMs?: number
  /** How many reads of the journal run at once. @defaultValue 8 */
  maxConcurrentReads?: number
  /** How often open viewers are compared with the journal, in ms. @defaultValue 5000 */
  reconcileMs?: number
  /** How often the leases of this process's messages are renewed, in ms. @defaultValue 10000 */
  heartbeatMs?: number
  /**
   * After how long without a sign of life a producer counts as dead, in ms; larger than `heartbeatMs`. @defaultValue
   * 90000
   */
  producerIdleMs?: number
  /** After how long without an event a producer is ended although it lives, in ms; 0: never. @defaultValue 3600000 */
  producerSilenceMs?: number
  /** After how long without progress a blocked socket is destroyed, in ms. @defaultValue 60000 */
  stallTimeoutMs?: number
  /** How many streams a user may have open, over all processes; 0: no limit. @defaultValue 8 */
  maxConnectionsPerUser?: number
  /** `false`: there are no notifications. */
  notifications?: false | NotificationOptions
  /**
   * What a reader gets who must try again later: a status, or 200 with an `event: busy`, after which an EventSource
   * reconnects.
   * @defaultValue "status"
   */
  overload?: 'status' | 'in-band'
  /** After how many days, a whole number, events are deleted; 0: never. @defaultValue 14 */
  retentionDays?: number
  /** How often an open response gets a comment, in ms. @defaultValue 15000 */
  keepaliveMs?: number
  /** The mean wait that clients are told to keep before they reconnect, in ms. @defaultValue 2000 */
  retryMs?: number
}

/** A century; Postgres' clock does not go back as far as the largest integer. */
export const MAX_RETENTION_DAYS = 36_500

function fn<T> (description: string) {
  return Type.Unsafe<T>(Type.Function([], Type.Unknown(), { description }))
}

const positive = (description: string, value: number) =>
  Type.Integer({ description, default: value, minimum: 1, maximum: 2_147_483_647 })

const notNegative = (description: string, value: number, maximum = 2_147_483_647) =>
  Type.Integer({ description, default: value, minimum: 0, maximum })

const text = (description: string, rules = {}) => Type.Optional(Type.String({ description, minLength: 1, ...rules }))

const NotificationsSchema = Type.Object({
  streamMaxEntries: positive('About how many notifications are kept for a user', 1_000),
  replayMaxPerRequest: positive('How many notifications are replayed in one response', 200),
  replayMaxAgeHours: notNegative('How old a notification may be when it is replayed; 0: no limit', 24, 876_000),
  maxReplaysPerUser: notNegative(
    'How often a user may have notifications replayed within replayWindowMs; 0: no limit', 30),
  replayWindowMs: positive('The time in which maxReplaysPerUser is spent', 60_000),
  progressMs: positive('How often a tracked task tells its progress', 200)
}, { additionalProperties: false })

/** Every option, with its default and its unit. MessageJournalOptions says the same to TypeScript. */
export const OptionsSchema = Type.Object({
  prefix: Type.Optional(Type.String({ description: 'The routes\' prefix' })),
  identify: Type.Union([fn<Identify>('Who is asking'), Type.Literal(false)]),
  authorize: Type.Optional(fn<Authorize>('Whether the caller may read a message')),
  publicError: Type.Optional(fn<PublicError>('What readers see of a producer\'s error')),
  takeOver: Type.Optional(fn<TakeOver>('Who goes on with a message whose producer is gone')),
  migrate: Type.Boolean({ description: 'Whether the tables are migrated at start', default: false }),
  schema: text('The Postgres schema of the tables', { maxLength: 63 }),
  postgres: text('The name that @fastify/postgres was registered with'),
  redis: text('The namespace that @fastify/redis was registered with'),
  terminalTypes: Type.Array(Type.String({ minLength: 1 }), {
    description: 'The event types that end a message', default: ['end', 'error'], minItems: 1
  }),
  eventNames: Type.Boolean({ description: 'Whether frames have an event: line', default: false }),
  maxPayloadBytes: positive('The largest payload, as JSON', 1_048_576),
  maxPendingBytes: positive('How much may wait for Postgres in this process', 16_777_216),
  writeRetryMs: positive('How long an event waits for Postgres', 10_000),
  maxDoubtMs: positive('How long an event that was sent and got no answer waits until it has been looked for', 60_000),
  maxConcurrentReads: positive('How many reads of the journal are under way at once', 8),
  reconcileMs: positive('How often open viewers are compared with the journal', 5_000),
  heartbeatMs: positive('How often producers\' leases are renewed', 10_000),
  producerIdleMs: positive('After how long without a sign of life a producer counts as dead', 90_000),
  producerSilenceMs: notNegative(
    'After how long without an event a producer is ended although it lives; 0: never', 3_600_000),
  stallTimeoutMs: positive('After how long without progress a blocked socket is destroyed', 60_000),
  maxConnectionsPerUser: notNegative('How many streams a user may have open; 0: no limit', 8),
  notifications: Type.Union([NotificationsSchema, Type.Literal(false)], {
    description: 'The options of the notifications; false: there are none', default: {}
  }),
  overload: Type.Union([Type.Literal('status'), Type.Literal('in-band')], {
    description: 'Whether a reader who is turned away gets a status, or 200 and a busy event', default: 'status'
  }),
  retentionDays: notNegative('After how many days events are deleted; 0: never', 14, MAX_RETENTION_DAYS),
  keepaliveMs: positive('How often an open response gets a comment', 15_000),
  retryMs: positive('The mean wait that clients are told to keep before they reconnect', 2_000)
}, { additionalProperties: false })

type Settings = Omit<Static<typeof OptionsSchema>, 'notifications'> & Static<typeof NotificationsSchema>

/** The options with their defaults. Without notifications, theirs are there all the same. */
export interface JournalOptions extends Settings {
  /** Whether there are notifications. */
  notifications: boolean
}

const compiled = TypeCompiler.Compile(OptionsSchema)

const compiledNotifications = TypeCompiler.Compile(NotificationsSchema)

/** The defaults, replaced by what was passed and is not undefined. */
function withDefaults ({ properties }: TObject, passed: object): Record<string, unknown> {
  const defaults = Object.entries(properties)
    .filter(([, schema]) => schema.default !== undefined)
    .map(([name, schema]) => [name, schema.default])
  const given = Object.entries(passed).filter(([, value]) => value !== undefined)
  return { ...structuredClone(Object.fromEntries(defaults)), ...Object.fromEntries(given) }
}

/** Fastify's own register options, which reach every plugin. */
const FASTIFY_OPTIONS = new Set(['logLevel', 'logSerializers'])

/**
 * The options with their defaults; what was passed is not changed.
 * @throws InvalidOptionError with the option's name and the reason.
 */
export function parseOptions (passed: object): JournalOptions {
  const own = Object.fromEntries(Object.entries(passed).filter(([name]) => !FASTIFY_OPTIONS.has(name)))
  const options = withDefaults(OptionsSchema, own)
  const { notifications } = options
  if (isPlainObject(notifications)) options['notifications'] = withDefaults(NotificationsSchema, notifications)
  const error = firstError(options)
  if (error !== undefined) throw new InvalidOptionError(describe(error))
  const sound = options as Static<typeof OptionsSchema> // there is no error
  checkTerminalTypes(sound)
  checkLease(sound)
  return {
    ...sound,
    ...sound.notifications === false
      ? withDefaults(NotificationsSchema, {}) as Static<typeof NotificationsSchema>
      : sound.notifications,
    notifications: sound.notifications !== false
  }
}

/** The first error. Of wrong notifications, the first in them: a union's own error only says that nothing fits. */
function firstError (options: object): ValueError | undefined {
  const [error] = compiled.Errors(options)
  if (error?.path !== '/notifications' || !isPlainObject(error.value)) return error
  const [inner] = compiledNotifications.Errors(error.value)
  return { ...error, ...inner, path: `${error.path}${inner?.path}` }
}

/** `message.end` and `message.fail` write these two types. Without them readers would wait for ever. */
function checkTerminalTypes ({ terminalTypes }: Pick<JournalOptions, 'terminalTypes'>): void {
  for (const type of ['end', 'error']) {
    if (!terminalTypes.includes(type)) {
      throw new InvalidOptionError(`"terminalTypes" must contain "${type}"; got ${describeValue(terminalTypes)}`)
    }
  }
}

/** If leases ran out before they are renewed, every living producer would count as dead. */
function checkLease ({ heartbeatMs, producerIdleMs }: Pick<JournalOptions, 'heartbeatMs' | 'producerIdleMs'>): void {
  if (producerIdleMs <= heartbeatMs) {
    throw new InvalidOptionError(
    `"producerIdleMs" must be larger than "heartbeatMs", which is ${heartbeatMs}; got ${producerIdleMs}`)
  }
}

function describe (error: ValueError): string {
  const name = error.path.slice(1).replaceAll('/', '.')
  if (name === 'notifications') {
    const given = describeValue(error.value)
    return `"notifications" must be an object with options, or false for no notifications; got ${given}`
  }
  if (name === 'identify') {
    const wanted = 'a function from the request to the user\'s id, or false to let everyone read everything'
    return `"identify" must be ${wanted}; got ${describeValue(error.value)}`
  }
  return `"${name}": ${wanted(error)}; got ${describeValue(error.value)}${descriptionOf(error.schema)}`
}

function wanted ({ schema, message }: ValueError): string {
  const literals = KindGuard.IsUnion(schema) ? schema.anyOf.filter((one) => KindGuard.IsLiteral(one)) : []
  return literals.length === 0
    ? message.toLowerCase()
    : `expected ${literals.map((literal) => describeValue(literal.const)).join(' or ')}`
}

function descriptionOf (schema: TSchema): string {
  return schema.description === undefined ? '' : ` (${schema.description})`
}
