import type pg from 'pg'
import type { LogLine } from './app.js'
import type { Fault, Program } from './program.js'

/** An event that a writer tried to record. */
export interface Attempt {
  messageId: string
  /** One of its own, by which it is known in the log. */
  eventType: string
  /** Attempts under one opening were made on one app, one after another, with nothing of the same writer under way elsewhere. */
  opening: number
  /** The number that was asked for; `null`: it was allotted. */
  number: number | null
  payload: string
  /** What the writer was told; `null`: nothing yet. */
  recorded: boolean | null
}

export interface Received {
  id: number
  data: string
}

export interface Row extends Received {
  eventType: string
}

export interface Reading {
  events: Received[]
  /** Events without an id. */
  asides: string[]
  abandons: boolean
  /** It was told that nothing more will come. */
  finished: boolean
}

/** What a judge knows beside the table. */
export interface Circumstances {
  /** As `unknownOutcomes` has them. */
  unknown: ReadonlySet<string>
  /** A terminal event was answered `false`, and may be in the table all the same: the message was ended again. */
  mayHaveEndedTwice: boolean
  /** An ending was answered `false`, and made again: readers may have been shown the first one, without an id. */
  endRefused: boolean
  /** Another app goes on with it, and ends it. */
  isTakenOver: boolean
  faults: readonly Fault[]
  /** Of the apps. */
  producerIdleMs: number
}

/** The events that the log says `outcome unknown` of: message and type. */
export function unknownOutcomes (lines: readonly LogLine[]): Set<string> {
  return new Set(lines.filter(({ msg }) => msg.includes('outcome unknown')).map(({ messageId, eventType }) => `${messageId} ${eventType}`))
}

/** Compares all answers with the table, once nothing is under way any more. */
export async function judgeAnswers (pool: pg.Pool, ledger: readonly Attempt[], unknown: ReadonlySet<string>): Promise<string[]> {
  const { rows } = await pool.query('select message_id, event_type, count(*)::int as count from message_events group by 1, 2')
  const count = new Map(rows.map((row) => [`${row.message_id} ${row.event_type}`, Number(row.count)]))
  return ledger.filter(({ messageId, eventType, recorded }) => {
    const event = `${messageId} ${eventType}`
    return (count.get(event) ?? 0) !== Number(recorded) && (recorded === true || !unknown.has(event))
  }).map(({ messageId, eventType, recorded }) => `${messageId} ${eventType}: ${recorded}, and ${count.get(`${messageId} ${eventType}`) ?? 0} rows`)
}

const TERMINALS: Record<'numbered' | 'leased', Record<Program['ending'], string>> = {
  numbered: { end: '{"type":"end"}', fail: '{"type":"error"}', stop: '{"type":"end","reason":"stopped"}', vanish: '{"type":"end"}' },
  leased: {
    end: '{"type":"end"}',
    fail: '{"type":"error","error":"The answer could not be completed.","code":"producer_failed"}',
    stop: '{"type":"end","reason":"stopped"}',
    vanish: '{"type":"error","error":"The answer was interrupted.","code":"producer_stale"}'
  }
}

/** Compares what writers were told, and what readers got, with the table; answers with every difference. */
export function judge (
  program: Program, rows: readonly Row[], attempts: readonly Attempt[], readings: readonly Reading[], circumstances: Circumstances
): string[] {
  const complaints = [
    ...judgeRows(rows, attempts, circumstances),
    ...judgeOrder(program, rows, attempts, circumstances),
    ...judgeTerminal(program, rows, circumstances),
    ...readings.flatMap((reading, index) => judgeReading(rows, reading).map((complaint) => `reader ${index} ${complaint}`)),
    ...judgeAsides(rows, readings, circumstances)
  ]
  return complaints.length === 0 ? [] : [...complaints, ...evidence(program, rows, attempts, readings, circumstances)]
}

function evidence (
  program: Program, rows: readonly Row[], attempts: readonly Attempt[], readings: readonly Reading[], { faults }: Circumstances
): string[] {
  return [
    `program: ${JSON.stringify(program)}`,
    `faults: ${JSON.stringify(faults)}`,
    `attempts: ${attempts.map(({ opening, number, payload, recorded }) => `${opening}/${number ?? ''} ${brief(payload)} ${recorded}`).join('; ')}`,
    `table: ${rows.map(({ id, data }) => `${id} ${brief(data)}`).join('; ')}`,
    ...readings.map(({ events }, index) => `reader ${index}: ${events.map(({ id }) => id).join(' ')}`)
  ]
}

function judgeRows (rows: readonly Row[], attempts: readonly Attempt[], { unknown }: Circumstances): string[] {
  const count = new Map<string, number>()
  for (const { data } of rows) count.set(data, (count.get(data) ?? 0) + 1)
  const known = new Set(attempts.map(({ payload }) => payload))
  return [
    ...attempts.filter(({ recorded }) => recorded === null).map(({ payload }) => `the writer of ${brief(payload)} was told nothing`),
    ...attempts.filter(({ payload, recorded }) => recorded === true && count.get(payload) !== 1)
      .map(({ payload }) => `${brief(payload)} was acknowledged and has ${count.get(payload) ?? 0} rows`),
    ...attempts.filter(({ messageId, eventType, payload, recorded }) => recorded === false && count.has(payload) && !unknown.has(`${messageId} ${eventType}`))
      .map(({ payload }) => `${brief(payload)} was refused and has a row`),
    ...rows.filter(({ data, eventType }) => !known.has(data) && !isTerminal(eventType)).map(({ id }) => `row ${id} is nobody's event`)
  ]
}

/** One writer's events stand in the order of its calls; a leased message's writers one behind the other. */
function judgeOrder (program: Program, rows: readonly Row[], attempts: readonly Attempt[], { faults }: Circumstances): string[] {
  const places = new Map(rows.map(({ data }, place) => [data, place]))
  const complaints: string[] = []
  const latest = new Map<number, number>()
  for (const { opening, payload } of attempts) {
    const place = places.get(payload)
    if (place === undefined) continue
    if (place < (latest.get(opening) ?? -1)) complaints.push(`${brief(payload)} stands before an event that was recorded earlier`)
    latest.set(opening, place)
  }
  if (program.kind !== 'numbered') {
    const openings = new Map(attempts.filter(({ payload, number }) => number === null && !payload.includes('foreign')).map(({ payload, opening }) => [payload, opening]))
    const blocks = rows.flatMap(({ data }) => openings.get(data) ?? []).filter((opening, index, all) => opening !== all[index - 1])
    if (new Set(blocks).size < blocks.length) complaints.push('a fenced writer has rows behind those of the next')
  }
  const [{ steps } = { steps: [] }] = program.writers
  const alone = program.writers.length === 1 && program.foreign.length === 0 && program.stopMs === null && steps.every(({ move }) => move > 0)
  // What a fault has kept in doubt is fenced off, and comes again under higher numbers
  if (program.kind === 'numbered' && alone && !faults.some(isOfDatabase)) {
    for (const { number, payload } of attempts) {
      if (rows.find(({ data }) => data === payload)?.id !== number) complaints.push(`${brief(payload)} did not get its number ${number}`)
    }
  }
  return complaints
}

function judgeTerminal (program: Program, rows: readonly Row[], { mayHaveEndedTwice, isTakenOver, faults, producerIdleMs }: Circumstances): string[] {
  const isDead = program.kind === 'left' || program.ending === 'vanish'
  const ending = isTakenOver ? 'end' : program.kind === 'left' ? 'vanish' : program.ending
  const wanted = TERMINALS[program.kind === 'numbered' ? 'numbered' : 'leased'][ending]
  const last = rows.at(-1)
  const isStale = rows.some(({ data }) => data === TERMINALS.leased.vanish)
  const mayBeStale = isCutOff(faults, producerIdleMs)
  if (isStale && !isDead && !mayBeStale) return ['a living producer was ended as stale']
  if (program.kind === 'numbered' && last?.data === TERMINALS.leased.vanish && mayBeStale) return []
  if (last?.data !== wanted) return [`the table ends with ${brief(last?.data ?? 'nothing')} and not with ${wanted}`]
  const written = rows.filter(({ data }) => data === wanted).length
  // A restarted app leaves a message that another process may have to end before it is gone on with.
  // What that one ends may have other rows behind it, and is ended again behind them, as any message that has failed.
  return written === 1 || isDead || isStale || mayHaveEndedTwice ? [] : [`${wanted} was written ${written} times`]
}

/**
 * One app alone is closed, or cannot reach Postgres for about `producerIdleMs`: the other one is right to end its messages. Heartbeats that a
 * shorter cut holds back come in time. Faults that keep both apps away excuse nobody.
 */
function isCutOff (faults: readonly Fault[], producerIdleMs: number): boolean {
  const cutMs = [0, 1].map((app) => faults.reduce((sum, fault) => sum + ('direction' in fault && fault.instance === app ? fault.ms : 0), 0))
  return faults.some(({ kind }) => kind === 'restartApp') || Math.max(...cutMs) >= producerIdleMs / 2
}

function isOfDatabase ({ kind }: Fault): boolean {
  return ['lockTable', 'lockRow', 'freezePostgres', 'blockLoop', 'stallLink', 'dropLink', 'stepClock', 'terminateBackends', 'restartApp'].includes(kind)
}

function judgeReading (rows: readonly Row[], { events, abandons, finished }: Reading): string[] {
  if (!finished && !abandons) return [`was still waiting after ${events.length} of ${rows.length} events, at ${events.at(-1)?.id ?? 'the start'}`]
  const wrong = events.findIndex(({ id, data }, place) => rows[place]?.id !== id || rows[place].data !== data)
  if (wrong >= 0) return [`got ${events[wrong]?.id} ${brief(events[wrong]?.data ?? '')} in the place of ${rows[wrong]?.id ?? 'nothing'}`]
  return finished && events.length < rows.length ? [`got ${events.length} of ${rows.length} events`] : []
}

/** A terminal event that was not recorded is recorded again, with the same payload. */
function judgeAsides (rows: readonly Row[], readings: readonly Reading[], { endRefused }: Circumstances): string[] {
  const repeated = endRefused ? Object.values(TERMINALS).flatMap((terminals) => Object.values(terminals)) : []
  const committed = new Set(rows.map(({ data }) => data).filter((data) => !repeated.includes(data)))
  return readings.flatMap(({ asides }) => asides.filter((data) => committed.has(data)).map((data) => `${brief(data)} has a row and was shown without an id`))
}

function isTerminal (eventType: string): boolean {
  return eventType === 'end' || eventType === 'error'
}

export function brief (text: string): string {
  return text.length > 48 ? `${text.slice(0, 48)}…` : text
}
