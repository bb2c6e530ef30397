import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { follow } from './follow.js'
import { createHabits } from './reader-behaviour.js'
import { orAborted } from './run-programs.js'
import type { Instance, TestCluster } from './test-cluster.js'
import { judgeUser, type Published, type UserReading } from './user-judge.js'
import type { PublisherPlan, UserProgram, UserReaderPlan } from './user-program.js'

export interface UserWorld extends Pick<TestCluster, 'instance'> {
  /** The test's own client. */
  redis: FastifyInstance['redis']
  /** The users of the run under way. */
  users: Set<string>
}

const RETRY_MS = 20
const OVER = 'over'

/** Runs a program in the world; resolves with what the stream says is wrong. Gives up when `signal` aborts. */
export async function executeUser (world: UserWorld, program: UserProgram, signal: AbortSignal): Promise<string[]> {
  const { redis } = world
  const user = randomUUID()
  const key = `user:${user}:stream`
  const published: Published[] = []
  const readings: UserReading[] = []
  let openings = 0

  function publish (instance: Instance, opening: number, type: string, paddingBytes = 0): Promise<string | null> {
    const payload = { n: published.length, padding: 'x'.repeat(paddingBytes) }
    const entry: Published = { opening, payload: JSON.stringify(payload), id: undefined }
    published.push(entry)
    return instance.journal.publishUserEvent(user, type, payload).then((id) => {
      entry.id = id
      return id
    })
  }

  /** Not best effort: it is tried again while Redis is away. */
  async function publishSurely (type: string): Promise<string> {
    for (let tries = 0; !signal.aborted; tries++) {
      const id = await publish(world.instance(tries), ++openings, type)
      if (id !== null) return id
      await delay(RETRY_MS)
    }
    return ''
  }

  async function publishAll (plan: PublisherPlan): Promise<void> {
    let current = world.instance(plan.instance)
    let opening = ++openings
    let results: Array<Promise<unknown>> = []
    for (const { count, paddingBytes, awaited, pauseMs } of plan.steps) {
      if (world.instance(plan.instance) !== current) {
        await Promise.all(results)
        results = []
        current = world.instance(plan.instance)
        opening = ++openings
      }
      const some = Array.from({ length: count }, () => publish(current, opening, 'counted', paddingBytes))
      results.push(...some)
      if (awaited) await Promise.all(some)
      if (pauseMs > 0) await delay(pauseMs)
    }
    await Promise.all(results)
  }

  /** Whatever becomes of it while Redis is away. */
  async function later (afterMs: number, work: () => Promise<unknown>): Promise<void> {
    await delay(afterMs)
    await work().catch(() => {})
  }

  async function addForeign (): Promise<void> {
    const payload = JSON.stringify({ foreign: published.length })
    published.push({ opening: ++openings, payload, id: null }) // it may be there twice, and it may be there though nobody was told
    await redis.xadd(key, '*', 'other', 'x', 'event', `{\n  "type": "foreign",\n  "payload": ${payload}\n}`)
  }

  async function read (plan: UserReaderPlan, reading: UserReading, first: string): Promise<void> {
    const leaving = new AbortController()
    const leave = (): void => { leaving.abort() }
    signal.addEventListener('abort', leave)
    reading.finish = () => {
      reading.finished = true
      leave()
    }
    const habits = createHabits(plan, () => reading.events.length, leave)
    await delay(plan.delayMs)
    await follow({
      path: '/api/events',
      user,
      cursor: plan.from === 'start' ? first : null,
      url: () => world.instance(plan.instance + habits.left).url,
      signal: leaving.signal,
      onAside: (data) => { reading.asides.push(data) },
      onEvent (id, data) {
        reading.events.push({ id, data })
        if (JSON.parse(data).type === OVER) reading.finish()
      },
      onOpen (response) {
        if (reading.from === null && reading.events.length === 0) {
          reading.presentSince = published.length
          if (over) return reading.finish() // nothing will come any more
        }
        habits.onOpen(response)
      }
    })
  }

  let over = false
  world.users.add(user)
  const first = await publishSurely('first')
  const reads = program.readers.map(async (plan) => {
    const reading: UserReading = { from: plan.from === 'start' ? first : null, presentSince: null, events: [], asides: [], abandons: plan.abandons, finished: false, finish () {} }
    readings.push(reading)
    await read(plan, reading, first)
  })
  async function write (): Promise<void> {
    await Promise.all([
      ...program.publishers.map(publishAll),
      ...program.foreignMs.map((afterMs) => later(afterMs, addForeign)),
      ...program.trims.map(({ afterMs, keep }) => later(afterMs, () => redis.xtrim(key, 'MAXLEN', keep)))
    ])
    await publishSurely(OVER)
    over = true
    await publishSurely(OVER) // for a reader that came between the first and the line above
  }
  await orAborted(signal, Promise.all([write(), ...reads]))
  world.users.delete(user)

  const stored = (await redis.xrange(key, '-', '+')).map(([id, fields]) => ({ id, envelope: fields.at(-1) ?? '' }))
  await redis.del(key)
  return judgeUser({ program, stored, published, readings, isTrimmed: program.trims.length > 0 }).map((complaint) => `${user}: ${complaint}`)
}
