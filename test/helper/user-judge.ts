import { compareStreamIds } from '../../plugin/wire/stream-id.js'
import { withId } from '../../plugin/notifications/notification-log.js'
import { brief } from './judge.js'
import type { UserProgram } from './user-program.js'

/** A notification that somebody tried to publish. */
export interface Published {
  /** Those under one opening were published on one app, one after another. */
  opening: number
  payload: string
  /** What the publisher was told; `undefined`: nothing yet. */
  id: string | null | undefined
}

export interface UserReading {
  /** Its first cursor; `null`: it had none. */
  from: string | null
  /** Without a cursor: how many had been published when its last connection stood that began without one. */
  presentSince: number | null
  events: Array<{ id: string, data: string }>
  /** Events without an id. */
  asides: string[]
  abandons: boolean
  /** It has had the last one. */
  finished: boolean
  finish (): void
}

export interface UserEvidence {
  program: UserProgram
  /** What the stream has at the end. */
  stored: Array<{ id: string, envelope: string }>
  published: Published[]
  readings: UserReading[]
  isTrimmed: boolean
}

/** Compares what publishers were told, and what readers got, with the stream; answers with every difference. */
export function judgeUser (evidence: UserEvidence): string[] {
  const { stored, published, readings, program } = evidence
  const complaints = [
    ...judgePublished(evidence),
    ...readings.flatMap((reading, index) => judgeReading(evidence, reading).map((complaint) => `reader ${index} ${complaint}`))
  ]
  if (complaints.length === 0) return []
  return [
    ...complaints,
    `program: ${JSON.stringify(program)}`,
    `published: ${published.map(({ opening, payload, id }) => `${opening} ${brief(payload)} ${id}`).join('; ')}`,
    `stream: ${stored.map(({ id }) => id).join(' ')}`,
    ...readings.map(({ from, events, asides }, index) => `reader ${index} from ${from}: ${events.map(({ id }) => id).join(' ')}; ${asides.join(' ')}`)
  ]
}

function judgePublished ({ stored, published, isTrimmed }: UserEvidence): string[] {
  const complaints: string[] = []
  const payloads = new Map(stored.map(({ id, envelope }) => [id, payloadOf(envelope)]))
  const oldest = stored[0]?.id ?? '0-0'
  const latest = new Map<number, string>()
  for (const { opening, payload, id } of published) {
    if (id === undefined) complaints.push(`the publisher of ${brief(payload)} was told nothing`)
    if (id === undefined || id === null) continue
    if (isTrimmed && compareStreamIds(id, oldest) < 0) continue
    if (payloads.get(id) !== payload && compareStreamIds(id, stored.at(-1)?.id ?? '') <= 0) complaints.push(`${brief(payload)} was acknowledged as ${id}, which is ${brief(payloads.get(id) ?? 'not there')}`)
    const before = latest.get(opening)
    if (before !== undefined && compareStreamIds(id, before) <= 0) complaints.push(`${brief(payload)} stands before one that was published earlier`)
    latest.set(opening, id)
  }
  const known = new Set(published.map(({ payload }) => payload))
  return [...complaints, ...stored.filter(({ envelope }) => !known.has(payloadOf(envelope))).map(({ id }) => `entry ${id} is nobody's`)]
}

function judgeReading ({ stored, published, isTrimmed }: UserEvidence, { from, presentSince, events, asides, abandons, finished }: UserReading): string[] {
  const last = events.at(-1)?.id
  if (!finished && !abandons) return [`was still waiting after ${events.length} events, at ${last ?? 'the start'}`]
  const complaints: string[] = []
  const frames = new Map(stored.map(({ id, envelope }) => [id, withId(envelope, id).replaceAll('\r', '')]))
  const known = new Set(published.map(({ payload }) => payload))
  for (const [place, { id, data }] of events.entries()) {
    const before = events[place - 1]?.id ?? from ?? '0-0'
    if (compareStreamIds(id, before) <= 0) complaints.push(`got ${id} after ${before}`)
    const expected = frames.get(id)
    const isRight = expected === undefined ? isTrimmed && known.has(payloadOf(data)) : data === expected
    if (!isRight) complaints.push(`got ${brief(data)} as ${id}, which is ${brief(expected ?? 'not there')}`)
  }

  const start = from ?? events[0]?.id
  const got = new Set(events.map(({ id }) => id))
  const missed = (id: string): boolean => start !== undefined && last !== undefined && compareStreamIds(id, start) > 0 && compareStreamIds(id, last) <= 0 && !got.has(id)
  complaints.push(...stored.filter(({ id }) => missed(id)).map(({ id }) => `did not get ${id}, which is still there`))
  const acknowledged = published.flatMap(({ id }) => id ?? [])
  if (acknowledged.some(missed) && asides.length === 0) complaints.push('was not told that something is gone')
  if (presentSince !== null && finished) {
    const oldest = stored[0]?.id ?? '0-0'
    for (const { id, payload } of published.slice(presentSince)) {
      if (typeof id === 'string' && !got.has(id) && compareStreamIds(id, oldest) >= 0 && compareStreamIds(id, last ?? '0-0') <= 0) complaints.push(`was there and did not get ${brief(payload)}, ${id}`)
    }
  }
  for (const data of asides) {
    if (!isTrimmed || !/^\{"type":"backlog\.truncated","payload":\{"oldest_retained_id":"\d+-\d+"\}\}$/.test(data)) complaints.push(`was told ${brief(data)}`)
  }
  return complaints
}

/** As text, without what its keeper has put around it. */
function payloadOf (envelope: string): string {
  return JSON.stringify(JSON.parse(envelope).payload)
}
