import t, { type Test } from 'tap'
import { createNotificationStore, type KeyValueStorage, type NotificationSnapshot, type NotificationStore } from '../../client/index.js'
import { eventually } from '../helper/journal.js'
import { becomePage, define, haveLocks } from './browser.js'
import { startPipe } from './pipe.js'
import { open, startServer, status } from './server.js'

/** What `localStorage` is for a browser's tabs. */
function createStorage (): KeyValueStorage & { items: Map<string, string> } {
  const items = new Map<string, string>()
  return {
    items,
    getItem: (key) => items.get(key) ?? null,
    setItem (key, value) { items.set(key, value) }
  }
}

/** Resolves once the snapshot is so; it is looked at whenever the store says that it has changed. */
async function until (store: NotificationStore, condition: (snapshot: NotificationSnapshot) => boolean): Promise<NotificationSnapshot> {
  return await new Promise((resolve) => {
    const look = (): void => {
      const snapshot = store.getSnapshot()
      if (!condition(snapshot)) return
      leave()
      resolve(snapshot)
    }
    const leave = store.subscribe(look)
    look()
  })
}

const isHealthy = ({ health }: NotificationSnapshot): boolean => health === 'healthy'

/** Connected until the end of the test, or until the returned function is called. */
function connect (t: Test, store: NotificationStore, options: Parameters<NotificationStore['connect']>[0]): () => void {
  const close = store.connect({ share: false, ...options })
  t.teardown(close)
  return close
}

t.test('the newest events, the cursor and the health, as they change', async (t) => {
  const { pipe, publish } = await startPipe(t)
  const store = createNotificationStore({ capacity: 3, storage: createStorage() })
  t.strictSame(store.getSnapshot(), { events: [], cursor: null, health: 'connecting', tasks: [], approvals: [], error: null })
  t.equal(store.getSnapshot(), store.getSnapshot())
  let changes = 0
  const leave = store.subscribe(() => { changes++ })
  connect(t, store, pipe)
  await until(store, isHealthy)
  const before = store.getSnapshot()
  t.equal(store.getSnapshot(), before, 'the same object until something changes')
  const ids = await publish(0, 1, 2, 3, 4)
  const after = await until(store, ({ events }) => events.at(-1)?.payload.n === 4)
  t.strictSame(after.events.map(({ payload }) => payload.n), [2, 3, 4])
  t.equal(after.cursor, ids[4])
  t.not(after, before)
  t.strictSame(before.events, [], 'a snapshot stays as it is')
  leave()
  const told = changes
  t.ok(told >= 6)
  await publish(5)
  await until(store, ({ events }) => events.at(-1)?.payload.n === 5)
  t.equal(changes, told)
})

t.test('a refresh goes on from the cursor, with the tasks and approvals of before', async (t) => {
  const { app, user, pipe, publish, cursors } = await startPipe(t)
  const storage = createStorage()
  const first = createNotificationStore({ name: user, storage })
  const close = connect(t, first, pipe)
  await until(first, isHealthy)
  const { approvalId } = await app.journal.requestApproval({ userId: user, messageId: 'm1', action: 'delete it' })
  let report: (progress: unknown) => void = () => {}
  let finish: (result: unknown) => void = () => {}
  const task = app.journal.trackTask({ userId: user, type: 'source.ingest', taskId: 't1' }, async (progress) => {
    report = progress
    return await new Promise((resolve) => { finish = resolve })
  })
  await until(first, ({ tasks }) => tasks.length === 1)
  report(40)
  const seen = await until(first, ({ tasks }) => tasks[0]?.status === 'progress')
  t.match(seen.tasks, [{ taskId: 't1', type: 'source.ingest', status: 'progress', progress: 40, ts: /^\d{4}-/ }])
  t.match(seen.approvals, [{ approvalId, messageId: 'm1', action: 'delete it' }])
  close()

  finish({ pages: 3 })
  await task
  const [last] = await publish(0)
  const second = createNotificationStore({ name: user, storage })
  const restored = second.getSnapshot()
  t.strictSame([restored.tasks, restored.approvals, restored.cursor, restored.events], [seen.tasks, seen.approvals, seen.cursor, []])
  connect(t, second, pipe)
  const now = await until(second, ({ events }) => events.length === 2)
  t.match(now.tasks, [{ taskId: 't1', status: 'completed', progress: 40, result: { pages: 3 } }])
  t.equal(now.cursor, last)
  t.strictSame(cursors, [undefined, seen.cursor])
  t.strictSame(createNotificationStore({ name: 'somebody else', storage }).getSnapshot().tasks, [])
})

t.test('tasks that have failed, approvals that were cleared, and what is none of both', async (t) => {
  const { app, user, pipe } = await startPipe(t)
  const { publishUserEvent, requestApproval, clearApproval, trackTask } = app.journal
  const store = createNotificationStore({ storage: createStorage() })
  connect(t, store, pipe)
  await until(store, isHealthy)
  await t.rejects(trackTask({ userId: user, type: 'upload', taskId: 't1' }, () => { throw new Error('no') }))
  const { approvalId } = await requestApproval({ userId: user, messageId: 'm1', action: 1 })
  await until(store, ({ approvals }) => approvals.length === 1)
  await clearApproval({ userId: user, messageId: 'm1', approvalId })
  for (const [type, payload] of [
    ['upload.progress', {}], ['upload.progress', { taskId: 7 }], ['.progress', { taskId: 'a' }], ['upload.done', { taskId: 'a' }], ['progress', { taskId: 'a' }],
    ['tool.approval.required', {}], ['tool.approval.cleared', { approvalId: 'unknown' }], ['tool.approval.other', { approvalId: 'a' }]
  ] as const) await publishUserEvent(user, type, payload)
  await publishUserEvent(user, 'last')
  const { tasks, approvals } = await until(store, ({ events }) => events.at(-1)?.type === 'last')
  t.match(tasks, [{ taskId: 't1', type: 'upload', status: 'failed', error: 'The answer could not be completed.' }])
  t.strictSame(approvals, [])
})

t.test('events of other programs, without a payload', async (t) => {
  const { url } = await startServer(t, open('data: {}\nid: 1-0\n\ndata: {"type":"upload.progress"}\nid: 2-0\n\ndata: {"type":7,"payload":9}\nid: 3-0\n\ndata: {"aside":true}\n\n'))
  const store = createNotificationStore({ storage: createStorage() })
  connect(t, store, { url })
  const { cursor, tasks } = await until(store, ({ events }) => events.length === 4)
  t.equal(cursor, '3-0')
  t.strictSame(tasks, [])
})

t.test('no more tasks and approvals are held than events', async (t) => {
  const { app, user, pipe } = await startPipe(t)
  const store = createNotificationStore({ capacity: 2, storage: createStorage() })
  connect(t, store, pipe)
  await until(store, isHealthy)
  for (const taskId of ['a', 'b', 'c', 'b']) {
    await app.journal.publishUserEvent(user, 'upload.queued', { taskId })
    await app.journal.requestApproval({ userId: user, messageId: 'm', action: null, approvalId: taskId })
  }
  await app.journal.publishUserEvent(user, 'last')
  const { tasks, approvals } = await until(store, ({ events }) => events.at(-1)?.type === 'last')
  t.strictSame(tasks.map(({ taskId }) => taskId), ['b', 'c'])
  t.strictSame(approvals.map(({ approvalId }) => approvalId), ['b', 'c'])
})

t.test('what is dismissed stays away for 24 hours: in other tabs, after a refresh, and when its event comes again', async (t) => {
  const page = becomePage(t)
  const { app, user, pipe } = await startPipe(t)
  const storage = createStorage()
  const [one, two] = [createNotificationStore({ name: user, storage }), createNotificationStore({ name: user, storage })]
  connect(t, one, pipe)
  connect(t, two, pipe)
  await Promise.all([until(one, isHealthy), until(two, isHealthy)])
  const about = { userId: user, messageId: 'm', action: null }
  for (const approvalId of ['a', 'b']) await app.journal.requestApproval({ ...about, approvalId })
  await app.journal.publishUserEvent(user, 'upload.queued', { taskId: 't' })
  await Promise.all([one, two].map(async (store) => await until(store, ({ tasks }) => tasks.length === 1)))
  const shown = (store: NotificationStore): string[] => {
    const { tasks, approvals } = store.getSnapshot()
    return [...approvals.map(({ approvalId }) => approvalId), ...tasks.map(({ taskId }) => taskId)]
  }

  one.dismiss('a')
  t.strictSame(shown(one), ['b', 't'])
  t.strictSame(shown(two), ['a', 'b', 't'])
  page.stored('something else')
  t.strictSame(shown(two), ['a', 'b', 't'])
  page.stored(`fastify-message-journal ${user} dismissed`)
  t.strictSame(shown(two), ['b', 't'])
  two.dismiss('t')
  page.stored(`fastify-message-journal ${user} dismissed`)
  for (const store of [one, two, createNotificationStore({ name: user, storage })]) t.strictSame(shown(store), ['b'])

  await app.journal.requestApproval({ ...about, approvalId: 'a' })
  await app.journal.publishUserEvent(user, 'upload.progress', { taskId: 't', progress: 1 })
  await until(one, ({ events }) => events.length === 5)
  t.strictSame(shown(one), ['b'])

  const now = Date.now()
  t.intercept(Date, 'now', { value: () => now + 24 * 60 * 60 * 1_000 + 1_000 })
  const later = createNotificationStore({ name: user, storage })
  t.strictSame(shown(later), ['a', 'b', 't'])
  later.dismiss('b')
  t.strictSame(Object.keys(JSON.parse(storage.items.get(`fastify-message-journal ${user} dismissed`) ?? '')), ['b'], 'what is over is forgotten')
})

t.test('a truncated backlog: the cursor is moved, the page is told, and what is pending stays', async (t) => {
  const { app, user, pipe, publish } = await startPipe(t)
  const storage = createStorage()
  const first = createNotificationStore({ name: user, storage })
  const close = connect(t, first, pipe)
  await until(first, isHealthy)
  await app.journal.requestApproval({ userId: user, messageId: 'm', action: null, approvalId: 'a' })
  await until(first, ({ approvals }) => approvals.length === 1)
  close()
  const ids = await publish(0, 1)
  await app.redis.xtrim(`user:${user}:stream`, 'MINID', ids[1] ?? '')

  const second = createNotificationStore({ name: user, storage })
  const told: unknown[] = []
  connect(t, second, { ...pipe, onTruncated: (oldest) => { told.push(oldest, second.getSnapshot().cursor, second.getSnapshot().approvals.length) } })
  const { cursor, events } = await until(second, ({ events }) => events.length === 1)
  t.strictSame(told, [ids[1], '0-0', 1])
  t.equal(cursor, ids[1])
  t.equal(events[0]?.payload.n, 1)
})

t.test('a connection that is given up is seen in the snapshot; a new one begins anew', async (t) => {
  const { url, asked } = await startServer(t, status(403), open())
  const store = createNotificationStore({ storage: createStorage() })
  const told: string[] = []
  const onHealth = (health: string): void => { told.push(health) }
  store.connect({ url, onHealth, share: false })
  const { error } = await until(store, ({ error }) => error !== null)
  t.match(error, { code: 'FST_JOURNAL_CLIENT_REFUSED', status: 403 })
  t.equal(store.getSnapshot().health, 'unhealthy')
  connect(t, store, { url, onHealth })
  t.equal((await until(store, isHealthy)).error, null)
  t.strictSame(told, ['connecting', 'unhealthy', 'connecting', 'healthy'])
  t.equal(asked.length, 2)
})

t.test('one connection at a time, and none after it was closed', async (t) => {
  const { pipe, app, publish } = await startPipe(t)
  const store = createNotificationStore({ storage: createStorage() })
  connect(t, store, pipe)
  await until(store, isHealthy)
  const close = connect(t, store, pipe)
  await eventually(() => app.journal.stats().viewers === 1)
  await until(store, isHealthy)
  await publish(0)
  await until(store, ({ events }) => events.length === 1)
  close()
  close()
  await eventually(() => app.journal.stats().viewers === 0)
  await publish(1)
  t.strictSame(store.getSnapshot().events.map(({ payload }) => payload.n), [0])
  t.equal(store.getSnapshot().error, null)
})

t.test('two tabs with one connection show the same', async (t) => {
  haveLocks(t)
  const { app, user, pipe, publish, cursors } = await startPipe(t)
  const storage = createStorage()
  const [one, two] = [createNotificationStore({ name: user, storage }), createNotificationStore({ name: user, storage })]
  const closeOne = one.connect(pipe)
  await until(one, isHealthy)
  const closeTwo = two.connect(pipe)
  t.teardown(closeTwo)
  await until(two, isHealthy)
  await app.journal.requestApproval({ userId: user, messageId: 'm', action: null })
  await publish(0)
  const [a, b] = await Promise.all([one, two].map(async (store) => await until(store, ({ events }) => events.length === 2)))
  t.strictSame(a, b)
  t.equal(cursors.length, 1)
  closeOne()
  await publish(1)
  t.strictSame((await until(two, ({ events }) => events.length === 3)).events.map(({ payload }) => payload.n), [undefined, 0, 1])
  t.strictSame(cursors, [undefined, a?.cursor])
})

t.test('no storage, a forbidden one, a full one, and one with nonsense in it', async (t) => {
  const { app, user, pipe, publish } = await startPipe(t)
  const refusing = () => { throw new DOMException('no', 'SecurityError') }
  const nonsense = (text: string): KeyValueStorage => ({ getItem: () => text, setItem: refusing })
  const storages = [undefined, { getItem: refusing, setItem: refusing }, ...['{', 'null', '7', '[]', '{"cursor":7,"tasks":3,"approvals":null}'].map(nonsense)]
  for (const storage of storages) {
    const store = createNotificationStore({ storage })
    t.strictSame(store.getSnapshot(), { events: [], cursor: null, health: 'connecting', tasks: [], approvals: [], error: null })
    const close = connect(t, store, pipe)
    await until(store, isHealthy)
    await publish(0)
    t.match(await until(store, ({ events }) => events.length === 1), { events: [{ payload: { n: 0 } }] })
    for (const approvalId of ['a', 'b', 'c']) await app.journal.requestApproval({ userId: user, messageId: 'm', action: null, approvalId })
    await until(store, ({ approvals }) => approvals.length === 3)
    store.dismiss('a')
    store.dismiss('b')
    t.match(store.getSnapshot().approvals, [{ approvalId: 'c' }])
    close()
  }
})

t.test('localStorage is what is used where nothing else is named', async (t) => {
  const { pipe, publish } = await startPipe(t)
  const storage = createStorage()
  define(t, 'localStorage', storage)
  const store = createNotificationStore()
  connect(t, store, pipe)
  await until(store, isHealthy)
  const [id] = await publish(0)
  await until(store, ({ events }) => events.length === 1)
  await eventually(() => storage.items.has('fastify-message-journal '))
  t.match(JSON.parse(storage.items.get('fastify-message-journal ') ?? ''), { cursor: id })
})
