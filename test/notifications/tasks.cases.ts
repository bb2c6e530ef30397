import { test, type Test } from 'tap'
import { createTrackTask, type TaskContext } from '../../plugin/notifications/tasks.js'
import { startApp } from '../helper/app.js'
import { holdTimers, hurryTimers } from '../helper/clock.js'
import { eventually } from '../helper/journal.js'
import { NEEDS_REAL_REDIS } from '../helper/real-redis.js'
import { freeze, ownRedis, thaw } from '../helper/servers.js'
import { startPublishing } from '../helper/user-publisher.js'

const PROGRESS_MS = 123_456
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

interface Told {
  type: string
  scope: object
  payload: Record<string, unknown>
}

async function start (t: Test, options: Partial<TaskContext> = {}, url?: string) {
  const maxPayloadBytes = options.maxPayloadBytes ?? 1_048_576
  const publishing = await startPublishing(t, { maxPayloadBytes }, url)
  const { publish, log, user, entries } = publishing
  const elapse = holdTimers(t, PROGRESS_MS)
  const track = createTrackTask({ publishUserEvent: publish, log, progressMs: PROGRESS_MS, maxPayloadBytes, publicError: (error) => `public: ${String(error)}`, ...options })
  return {
    ...publishing,
    /** The time of one progress passes. */
    elapse,
    track,
    task: { userId: user, type: 'source.ingest', taskId: 'seven' },
    /** What the user has been told so far. */
    told: async () => (await entries()).map(({ envelope }): Told => JSON.parse(envelope))
  }
}

/** The types without their common beginning, and what their payloads have beside the task's id. */
function brief (told: Told[]): unknown[] {
  return told.map(({ type, payload: { taskId, ...rest } }) => [type.replace('source.ingest.', ''), rest])
}

test('a task is queued, goes on and is completed with its result; each notification names it', async (t) => {
  const { track, task, told, user } = await start(t)
  const result = { chunks: 3 }

  t.equal(await track({ ...task, scope: { kind: 'source', id: '7' } }, async (progress) => {
    await eventually(async () => (await told()).length === 1) // while there is work
    progress(0.5)
    return result
  }), result, 'and returns it')

  const all = await told()
  t.strictSame(brief(all), [['queued', {}], ['progress', { progress: 0.5 }], ['completed', { result: { chunks: 3 } }]])
  for (const each of all) t.match(each, { user_id: user, scope: { kind: 'source', id: '7' }, payload: { taskId: 'seven' } })
})

test('a task without an id gets one, and without a scope has none', async (t) => {
  const { track, user, told } = await start(t)
  await track({ userId: user, type: 'a' }, () => {})
  const [queued, completed] = await told()
  t.match(queued?.payload.taskId, UUID)
  t.strictSame([queued?.scope, completed?.scope], [{}, {}])
  t.strictSame(completed?.payload, queued?.payload, 'nothing was returned, so there is no result')
  await track({ userId: user, type: 'a' }, () => {})
  t.not((await told())[2]?.payload.taskId, queued?.payload.taskId)
})

test('the first progress is told at once, then the latest one a window, and the last one always', async (t) => {
  const { track, task, told, elapse } = await start(t)
  await track(task, async (progress) => {
    progress(1)
    await eventually(async () => (await told()).length === 2)
    progress(2)
    progress(3)
    t.strictSame(brief(await told()).slice(1), [['progress', { progress: 1 }]])
    elapse()
    await eventually(async () => (await told()).length === 3)
    progress(4)
    elapse()
    await eventually(async () => (await told()).length === 4)
    elapse() // a window in which nothing is reported
    progress(5)
    await eventually(async () => (await told()).length === 5)
    progress(6)
    progress(7)
  })
  t.strictSame(brief(await told()).slice(1), [
    ...[1, 3, 4, 5, 7].map((progress) => ['progress', { progress }]),
    ['completed', {}]
  ])
})

test('nothing is told of a task after its end', async (t) => {
  for (const reportsBefore of [false, true]) {
    const { track, task, told, elapse, publish, user } = await start(t)
    let late = (_progress: unknown) => {}
    await track(task, (progress) => {
      if (reportsBefore) progress(1)
      late = progress
    })
    late(2)
    elapse()
    late(3)
    elapse()
    await publish(user, 'marker')
    t.match((await told()).slice(-2), [{ type: 'source.ingest.completed' }, { type: 'marker' }])
  }
})

for (const [how, work] of [
  ['at once', () => { throw new Error('secret') }],
  ['later', async () => { throw new Error('secret') }]
] as const) {
  test(`a task that throws ${how} is failed with the public error, and throws what it threw`, async (t) => {
    const seen: unknown[] = []
    const { track, task, told, user } = await start(t, {
      publicError (error, about) {
        seen.push(error, about)
        return 'It did not work.'
      }
    })
    const error: unknown = await track(task, async (progress) => {
      progress(1)
      progress(2)
      return await work()
    }).catch((error: unknown) => error)
    t.match(error, { message: 'secret' })
    t.strictSame(brief(await told()), [['queued', {}], ['progress', { progress: 1 }], ['progress', { progress: 2 }], ['failed', { error: 'It did not work.' }]])
    t.equal(seen[0], error)
    t.strictSame(seen[1], { taskId: 'seven', userId: user })
    const synchronous: unknown = await track(task, work).catch((error: unknown) => error)
    t.match(synchronous, { message: 'secret' })
    t.match((await told()).at(-1), { type: 'source.ingest.failed' })
  })
}

test('an error that is no Error is thrown as it is', async (t) => {
  const { track, task, told } = await start(t)
  for (const thrown of [undefined, null, 'text']) {
    const outcome = await track(task, () => { throw thrown }).then(() => 'returned', (error: unknown) => ({ error }))
    t.strictSame(outcome, { error: thrown })
    t.strictSame((await told()).at(-1)?.payload, { taskId: 'seven', error: `public: ${thrown}` })
  }
})

test('a publicError that throws or gives no text costs nobody the failure', async (t) => {
  for (const publicError of [() => { throw new Error('no') }, () => 7 as never]) {
    const { track, task, told, lines } = await start(t, { publicError })
    await t.rejects(track(task, () => { throw new Error('secret') }), { message: 'secret' })
    t.strictSame((await told()).at(-1)?.payload, { taskId: 'seven', error: 'The answer could not be completed.' })
    t.match(lines, [{ level: 50, msg: 'journal: the option publicError gave no text', taskId: 'seven' }])
  }
})

test('an outcome that cannot be sent is left out, and the task is ended all the same', async (t) => {
  const cycle: Record<string, unknown> = {}
  cycle.self = cycle
  const maxPayloadBytes = 100
  const base = JSON.stringify({ taskId: 'seven', result: '' }).length
  for (const result of [cycle, 1n, 'x'.repeat(maxPayloadBytes - base + 1)]) {
    const { track, task, told, lines } = await start(t, { maxPayloadBytes })
    t.equal(await track(task, () => result), result)
    t.strictSame(brief(await told()), [['queued', {}], ['completed', {}]])
    t.match(lines, [{ level: 40, msg: 'journal: the outcome of a task was left out of its notification', taskId: 'seven', err: {} }])
  }
  const { track, task, told, lines } = await start(t, { maxPayloadBytes, publicError: () => 'x'.repeat(maxPayloadBytes) })
  const result = 'x'.repeat(maxPayloadBytes - base)
  await track(task, () => result)
  t.strictSame(brief(await told()).at(-1), ['completed', { result }], 'the largest that may be')
  t.strictSame(lines, [])
  await t.rejects(track(task, () => { throw new Error('secret') }), { message: 'secret' })
  t.strictSame(brief(await told()).at(-1), ['failed', {}])
})

test('a progress that cannot be sent is logged, and the next one is told', async (t) => {
  const { track, task, told, lines, elapse } = await start(t)
  await track(task, (progress) => {
    progress(1n)
    elapse()
    progress('next')
  })
  t.strictSame(brief(await told()), [['queued', {}], ['progress', { progress: 'next' }], ['completed', {}]])
  t.match(lines, [{ msg: 'journal: a notification was not published', type: 'source.ingest.progress' }])
})

test('a task without a type or a user is worked on, and nothing is told', async (t) => {
  const { track, task, told, lines } = await start(t)
  for (const wrong of [{ type: '' }, { userId: '' }]) t.equal(await track({ ...task, ...wrong }, () => 'done'), 'done')
  await t.rejects(track({ ...task, userId: Object.create(null) }, () => { throw new Error('its own') }), { message: 'its own' })
  t.strictSame(await told(), [])
  t.match(lines, [{ msg: 'journal: a notification was not published', reason: 'type is empty' }])
})

test('a Redis that is away or frozen fails no task, and hides no failure', NEEDS_REAL_REDIS, async (t) => {
  const server = await ownRedis(t)
  const { track, task, redis } = await start(t, {}, server.url)
  hurryTimers(t, 5_000, 30)
  const both = async () => {
    t.equal(await track(task, (progress) => {
      progress(1)
      return 'done'
    }), 'done')
    await t.rejects(track(task, () => { throw new Error('its own') }), { message: 'its own' })
  }
  freeze(server)
  await both()
  thaw(server)
  await server.kill()
  await eventually(() => redis.status !== 'ready')
  await both()
})

test('an app tracks tasks by its own options, and tells its user by the default of publicError', async (t) => {
  const { app } = await startApp(t, { notifications: { progressMs: 100_000 } })
  const [own] = await Promise.allSettled([app.journal.trackTask({ userId: 'tasks of an app', type: 'own' }, async (progress) => {
    for (let n = 0; n < 5; n++) progress(n)
    throw new Error('secret')
  })])
  t.match(own, { reason: { message: 'secret' } })
  const key = 'user:tasks of an app:stream'
  const told = (await app.redis.xrange(key, '-', '+')).map(([, [, envelope = '']]): Told => JSON.parse(envelope))
  await app.redis.del(key)
  t.match(told, [
    { type: 'own.queued' }, { type: 'own.progress', payload: { progress: 0 } }, { type: 'own.progress', payload: { progress: 4 } },
    { type: 'own.failed', payload: { error: 'The answer could not be completed.' } }
  ])
  t.equal(told.length, 4)
})
