import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Message } from '../../plugin/index.js'
import { follow } from './follow.js'
import { createHabits } from './reader-behaviour.js'
import { judge, unknownOutcomes, type Attempt, type Reading, type Row } from './judge.js'
import type { Fault, ForeignRow, Program, ReaderPlan, Step, WriterPlan } from './program.js'
import { orAborted } from './run-programs.js'
import type { TestCluster } from './test-cluster.js'

export interface World extends Pick<TestCluster, 'instance' | 'pool' | 'lines'> {
  user: string
  /** The messages of the run under way. */
  messageIds: Set<string>
  /** What was answered in all runs so far. */
  ledger: Attempt[]
  /** Of the apps. */
  producerIdleMs: number
  /** What goes on with messages that have lost their producer. */
  continuations?: Map<string, (message: Message) => Promise<void>>
}

const RETRY_MS = 20
const HEAD_START = 30

/** Runs a program in the world; resolves with what the table says is wrong. Gives up when `signal` aborts. */
export async function execute (world: World, program: Program, signal: AbortSignal, faults: readonly Fault[]): Promise<string[]> {
  const { pool, user } = world
  const stopMs = program.ending === 'stop' && program.writers.length === 1 && program.kind !== 'left' ? program.stopMs : null
  const isTakenOver = program.takenOver && world.continuations !== undefined && program.kind !== 'numbered' &&
    (program.kind === 'left' || program.ending === 'vanish')
  const messageId = randomUUID()
  const attempts: Attempt[] = []
  const readings: Reading[] = []
  let openings = 0
  let over = false
  let endRefused = false
  let stopping = false

  /** Not best effort: it is tried again while the database is away. */
  async function open (instance: number): Promise<Message> {
    for (;;) {
      try {
        return await world.instance(instance).journal.openMessage({ userId: user, messageId })
      } catch (error) {
        if (signal.aborted) throw error
        await delay(RETRY_MS)
      }
    }
  }

  function note (opening: number, number: number | null, payload: string): Attempt {
    const entry: Attempt = { messageId, eventType: `answer ${attempts.length}`, opening, number, payload, recorded: null }
    attempts.push(entry)
    return entry
  }

  function attempt (
    writer: number, opening: number, n: number, number: number | null, step: Pick<Step, 'paddingBytes'>, record: (eventType: string, payload: object) => Promise<boolean>
  ): Promise<void> {
    const payload = { type: 'answer', writer, n, padding: 'x'.repeat(step.paddingBytes) }
    const entry = note(opening, number, JSON.stringify(payload))
    return record(entry.eventType, payload).then((recorded) => { entry.recorded = recorded })
  }

  async function pace (step: Step, result: Promise<void>): Promise<void> {
    if (step.awaited) await result
    if (step.pauseMs > 0) await delay(step.pauseMs)
  }

  async function writeNumbered (plan: WriterPlan, writer: number): Promise<void> {
    let current = world.instance(plan.instance)
    let opening = ++openings
    let highest = program.kind === 'mixed' ? plan.delayMs % HEAD_START : -1 // ahead of the leased writer, or behind
    let results: Array<Promise<void>> = []
    for (const [n, step] of plan.steps.entries()) {
      if (world.instance(plan.instance) !== current) {
        await Promise.all(results)
        results = []
        current = world.instance(plan.instance)
        opening = ++openings
      }
      const number = Math.max(0, highest + step.move)
      highest = Math.max(highest, number)
      const { journal } = current
      const result = attempt(writer, opening, n, number, step, (eventType, payload) => journal.recordEvent(messageId, number, eventType, payload))
      results.push(result)
      await pace(step, result)
    }
    await Promise.all(results)
  }

  /** Resolves with the message as its last writer left it. */
  async function writeLeased (plan: WriterPlan, writer: number, first: Message | null): Promise<Message> {
    let message = first ?? await open(plan.instance)
    let opening = ++openings
    const results: Array<Promise<void>> = []
    for (const [n, step] of plan.steps.entries()) {
      if (message.signal.aborted) {
        await Promise.all(results)
        if (message.signal.reason?.code !== 'FST_JOURNAL_CLOSED' || stopping) break // another writer has it
        message = await open(plan.instance)
        opening = ++openings
      }
      const result = attempt(writer, opening, n, null, step, (eventType, payload) => message.record(eventType, payload))
      results.push(result)
      await pace(step, result)
    }
    await Promise.all(results)
    return message
  }

  /** A writer of another make: it publishes nothing, and is refused when its number is not above the newest. */
  async function writeForeign ({ afterMs, ahead }: ForeignRow): Promise<void> {
    await delay(afterMs)
    const entry = note(++openings, null, '')
    entry.payload = JSON.stringify({ type: 'answer', foreign: attempts.length }, null, 2)
    try {
      await pool.query(`insert into message_events (message_id, sequence_no, event_type, payload)
        select $1, coalesce(max(sequence_no), -1) + $3, $4, $2 from message_events where message_id = $1`, [messageId, entry.payload, ahead, entry.eventType])
      entry.recorded = true
    } catch (error) {
      if (!['23505', '23514'].includes(String(Object(error).code))) throw error
      entry.recorded = false
    }
  }

  async function read (plan: ReaderPlan, reading: Reading): Promise<void> {
    const leaving = new AbortController()
    signal.addEventListener('abort', () => { leaving.abort() })
    const habits = createHabits(plan, () => reading.events.length, () => { leaving.abort() })
    await delay(plan.delayMs)
    await follow({
      path: `/api/messages/${messageId}/events`,
      user,
      url: () => world.instance(plan.instance + habits.left).url,
      isOver: () => over,
      signal: leaving.signal,
      onAside: (data) => { reading.asides.push(data) },
      onEvent: (id, data) => { reading.events.push({ id: Number(id), data }) },
      onOpen: habits.onOpen
    })
    reading.finished = !leaving.signal.aborted
  }

  async function write (first: Message | null): Promise<void> {
    const writers = program.writers.map(async (plan, writer) => {
      if (program.kind === 'numbered' || (program.kind === 'mixed' && writer > 0)) return await writeNumbered(plan, writer)
      if (writer > 0) await delay(plan.delayMs)
      last = await writeLeased(plan, writer, writer === 0 ? first : null)
    })
    let last = first
    const foreign = stopMs === null ? program.foreign.map(writeForeign) : []
    await Promise.all([...writers, ...foreign, stopMs !== null && stopSoon(stopMs)])
    if (!stopping || await statusOf() !== 'stopped') await (last === null ? endNumbered() : endLeased(last))
    over = true
  }

  async function stopSoon (afterMs: number): Promise<void> {
    await delay(afterMs)
    stopping = true
    await stop()
  }

  async function statusOf (): Promise<string> {
    const { rows } = await pool.query('select status from messages where message_id = $1', [messageId])
    return rows[0].status
  }

  /** Its terminal event is in, or it is not known whether it is. */
  function mayHaveEnded (): boolean {
    return unknownOutcomes(world.lines).has(`${messageId} end`) || unknownOutcomes(world.lines).has(`${messageId} error`)
  }

  async function goOn (message: Message): Promise<void> {
    const opening = ++openings
    for (let n = 0; n < 3; n++) await attempt(100 + opening, opening, n, null, { paddingBytes: 0 }, (eventType, payload) => message.record(eventType, payload))
  }

  async function endLeased (message: Message): Promise<void> {
    const current = message.signal.aborted ? await open(0) : message
    if (program.ending === 'stop') {
      await stop()
      if (!current.signal.aborted) await new Promise((resolve) => { current.signal.addEventListener('abort', resolve) })
      if (await statusOf() !== 'stopped' && !signal.aborted) await endLeased(await open(1)) // it was ended before, since its app was closed
    } else if (program.ending === 'vanish') {
      if (isTakenOver) world.continuations?.set(messageId, goOn)
      // As if a process had taken the message over and died.
      await pool.query('update messages set epoch = epoch + 1, heartbeat_at = to_timestamp(0) where message_id = $1', [messageId])
    } else {
      const ended = program.ending === 'end' ? await current.end() : await current.fail(new Error('on purpose'))
      endRefused ||= !ended
      if (!ended && !signal.aborted) await endLeased(await open(1)) // its app was closed meanwhile
    }
  }

  async function endNumbered (): Promise<void> {
    if (program.ending === 'stop') return await stop()
    if (program.ending !== 'vanish') {
      const payload = { type: program.ending === 'end' ? 'end' : 'error' }
      while (!signal.aborted && await statusOf() === 'streaming') {
        const { rows } = await pool.query('select sequence_no, event_type from message_events where message_id = $1 order by sequence_no desc limit 1', [messageId])
        if (rows[0]?.event_type === payload.type) break
        if (await world.instance(0).journal.recordEvent(messageId, (rows[0]?.sequence_no ?? -1) + 1, payload.type, payload)) break
        endRefused = true
      }
    }
    await pool.query('update messages set status = $2 where message_id = $1', [messageId, program.ending === 'fail' ? 'failed' : 'complete'])
  }

  async function stop (): Promise<void> {
    while (!signal.aborted) {
      const url = `${world.instance(1).url}/api/messages/${messageId}/stop`
      const answer = await fetch(url, { method: 'POST', headers: { 'x-user': user } }).catch(() => null)
      if (answer?.status === 202) return
      await delay(RETRY_MS)
    }
  }

  world.messageIds.add(messageId)
  let first: Message | null = null
  if (program.kind === 'left' && isTakenOver) world.continuations?.set(messageId, goOn)
  if (program.kind !== 'numbered') first = await open(program.writers[0]?.instance ?? 0)
  else await pool.query('insert into messages (message_id, user_id) values ($1, $2)', [messageId, user])
  const reads = program.readers.map(async (plan) => {
    const reading: Reading = { events: [], asides: [], abandons: plan.abandons, finished: false }
    readings.push(reading)
    await read(plan, reading)
  })
  over = program.kind === 'left'
  await orAborted(signal, Promise.all([!over && write(first), ...reads]))
  world.messageIds.delete(messageId)
  world.continuations?.delete(messageId)
  world.ledger.push(...attempts)

  const { rows } = await pool.query<Row>(`select sequence_no as id, event_type as "eventType", payload::text as data
    from message_events where message_id = $1 order by sequence_no`, [messageId])
  const evidence = { unknown: unknownOutcomes(world.lines), mayHaveEndedTwice: mayHaveEnded(), endRefused, isTakenOver, faults, producerIdleMs: world.producerIdleMs }
  return judge(program, rows, attempts, readings, evidence).map((complaint) => `${messageId}: ${complaint}`)
}
