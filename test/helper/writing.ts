import { randomUUID } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { setImmediate as nextTurn } from 'node:timers/promises'
import pg from 'pg'
import type { Test } from 'tap'
import { messageTopic } from '../../plugin/wire/names.js'
import type { Teardown } from './database.js'
import { createWatcher } from './watcher.js'

export interface Row {
  sequence_no: number
  event_type: string
  /** The stored text, byte for byte. */
  payload: string
}

/** A look at the database that the app has no part in. */
export interface Observer {
  query<R extends pg.QueryResultRow> (sql: string, values?: unknown[]): Promise<R[]>
  /** A message that nobody holds a lease of; resolves to its id. */
  addMessage (userId?: string): Promise<string>
  rows (messageId: string): Promise<Row[]>
  message (messageId: string): Promise<{ status: string, error: string | null, epoch: number } | undefined>
  /** From now on an INSERT that holds an event of type `refused` fails, with this SQLSTATE. */
  refuse (errcode?: string): Promise<void>
  /** From now on INSERTs are counted, those included that fail. Resolves to the count so far. */
  countInserts (): Promise<() => Promise<number>>
  /** Resolves once a statement of somebody else waits for a lock. */
  untilWaiting (): Promise<void>
  /** Ends every other connection to the database; resolves to how many there were. */
  terminateOthers (): Promise<number>
}

/** On a connection of its own, which closes after the test. */
export async function observe (t: Teardown, databaseUrl: string): Promise<Observer> {
  const client = new pg.Pool({ connectionString: databaseUrl, max: 1 }) // one connection, with a queue before it
  client.on('error', () => {}) // a session that ends with its database
  client.on('error', () => {}) // its server is stopped by some tests
  t.teardown(() => client.end())

  const observer: Observer = {
    async query<R extends pg.QueryResultRow> (sql: string, values: unknown[] = []) {
      return (await client.query<R>(sql, values)).rows
    },
    async addMessage (userId = 'ada') {
      const messageId = randomUUID()
      await client.query('insert into messages (message_id, user_id) values ($1, $2)', [messageId, userId])
      return messageId
    },
    rows: async (messageId) => await observer.query<Row>(
      'select sequence_no, event_type, payload::text from message_events where message_id = $1 order by sequence_no', [messageId]),
    async message (messageId) {
      const [row] = await observer.query<{ status: string, error: string | null, epoch: number }>(
        'select status, error, epoch from messages where message_id = $1', [messageId])
      return row
    },
    async refuse (errcode = 'P0001') {
      await client.query(`
        create or replace function refuse () returns trigger language plpgsql as $$
        begin
          if new.event_type = 'refused' then raise exception 'refused by the test' using errcode = '${errcode}'; end if;
          return new;
        end $$;
        create or replace trigger refuse before insert on message_events for each row execute function refuse()`)
    },
    async countInserts () {
      await client.query(`
        create sequence inserts minvalue 0;
        create function count_insert () returns trigger language plpgsql as $$ begin perform nextval('inserts'); return null; end $$;
        create trigger count_insert before insert on message_events for each statement execute function count_insert();
        select nextval('inserts')`)
      return async () => {
        const [row] = await observer.query<{ count: number }>('select last_value::int as count from inserts')
        return row?.count ?? 0
      }
    },
    async untilWaiting () {
      while ((await observer.query('select from pg_locks where not granted')).length === 0);
    },
    async terminateOthers () {
      const ended = await observer.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()')
      return ended.length
    }
  }
  return observer
}

/** Holds every INSERT of an event back until the returned function is called. */
export async function holdInserts (t: Teardown, databaseUrl: string): Promise<() => Promise<void>> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  t.teardown(() => client.end())
  await client.query('begin')
  await client.query('lock table message_events in share row exclusive mode')
  return async () => { await client.query('rollback') }
}

export interface Published {
  message_id: string
  sequence_no: number
  event_type: string
  payload: Record<string, unknown>
  committed?: boolean
}

/** What is published on the topics of some messages. */
export interface Topics {
  /** The envelopes received so far, as they came. */
  texts: string[]
  readonly envelopes: Published[]
  /** Called for each envelope as it arrives. */
  onText: (text: string) => void
  /** Resolves once `count` envelopes are there. */
  until (count: number): Promise<void>
  /** Resolves once all is here that the app has published so far. */
  flushed (): Promise<void>
}

/** Subscribes on a connection of its own, which closes after the test. */
export async function listen (t: Teardown, app: FastifyInstance, ...messageIds: string[]): Promise<Topics> {
  const connection = app.redis.duplicate()
  t.teardown(async () => { connection.disconnect() })
  const { look, until } = createWatcher()
  const marker = randomUUID()
  let markers = 0
  const topics: Topics = {
    texts: [],
    get envelopes () { return topics.texts.map((text): Published => JSON.parse(text)) },
    onText: () => {},
    until: async (count) => await until(() => topics.texts.length >= count),
    async flushed () {
      const wanted = markers + 1
      await nextTurn() // in which what is settled by now is published
      await app.redis.publish(marker, '') // behind what the app has sent on this connection
      await until(() => markers >= wanted)
    }
  }

  connection.on('message', (topic, text) => {
    if (topic === marker) {
      markers++
    } else {
      topics.texts.push(text)
      topics.onText(text)
    }
    look()
  })
  await connection.subscribe(marker, ...messageIds.map(messageTopic))
  return topics
}

/** The lines of the app's log with this text in their message. */
export function linesAbout<L extends { msg: string }> (lines: L[], text: string): L[] {
  return lines.filter(({ msg }) => msg.includes(text))
}

/** `performance.now()` stands still, so that the log's limit of a line a second is no wait, and moves on by calls of the returned function. */
export function takeClock (t: Test): (ms: number) => void {
  let now = Math.ceil(performance.now())
  t.intercept(performance, 'now', { value: () => now })
  return (ms) => { now += ms }
}

/** Counts the journal's statements with such a name; they pass on to Postgres as they are. */
export function countStatements (app: FastifyInstance, name: RegExp): () => number {
  let count = 0
  beforeStatements(app, name, () => { count++ })
  return () => count
}

/** Calls `act` before each of the journal's statements with such a name, or such a text if it has none, is sent, which waits for its promise, if it gives one. */
export function beforeStatements (app: FastifyInstance, name: RegExp, act: () => Promise<unknown> | void): void {
  const watched = new WeakSet<object>()
  app.pg.pool.on('acquire', (client) => {
    if (watched.has(client)) return
    watched.add(client)
    const query = client.query
    client.query = function (this: unknown, ...args: unknown[]) {
      const [config] = args
      const { name: given, text } = Object(config) as { name?: string, text?: string }
      const acting = name.test(given ?? text ?? '') ? act() : undefined
      return acting === undefined ? Reflect.apply(query, client, args) : acting.then(() => Reflect.apply(query, client, args))
    }
  })
}
