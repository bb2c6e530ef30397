import t, { type Test } from 'tap'
import { JournalClientError } from '../../client/index.js'
import { createRetryPolicy } from '../../client/retry-policy.js'

const LOST = new JournalClientError('FST_JOURNAL_CLIENT_LOST', 'The connection was lost')
const LIMITED = new JournalClientError('FST_JOURNAL_TOO_MANY_CONNECTIONS', 'Too many', 429)

function about (t: Test, ms: number, wanted: number): void {
  t.ok(ms >= wanted * 0.8 && ms <= wanted * 1.2, `${ms} ms is ${wanted} ms ± 20 %`)
}

/** `navigator.onLine`, until the end of the test. */
function setOnline (t: Test, onLine: boolean): void {
  const before = Object.getOwnPropertyDescriptor(globalThis, 'navigator')
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { onLine } })
  t.teardown(() => {
    Reflect.deleteProperty(globalThis, 'navigator')
    if (before !== undefined) Object.defineProperty(globalThis, 'navigator', before)
  })
}

t.test('the waits: 0, 1, 2, 4, 8, 16 and then 30 s, each ± 20 %', async (t) => {
  const policy = createRetryPolicy({})
  for (const seconds of [0, 1, 2, 4, 8, 16, 30, 30, 30]) about(t, policy.delays(LOST)[1], seconds * 1_000)
  const jitters = new Set(Array.from({ length: 5 }, () => policy.delays(LOST)[1]))
  t.equal(jitters.size, 5, 'no two alike')
})

t.test('a server that is asked too often is asked less often', async (t) => {
  const policy = createRetryPolicy({})
  for (const seconds of [2, 16, 30, 30]) about(t, policy.delays(LIMITED)[1], seconds * 1_000)
})

t.test('the waits begin again after two good seconds, and not before', async (t) => {
  const policy = createRetryPolicy({})
  for (let failures = 0; failures < 4; failures++) policy.delays(LOST)
  policy.opened()
  policy.closed(Date.now() + 1_500)
  about(t, policy.delays(LOST)[1], 8_000)
  policy.opened()
  policy.closed(Date.now() + 2_000)
  t.equal(policy.delays(LOST)[1], 0)
  policy.closed(Date.now() + 3_600_000)
  about(t, policy.delays(LOST)[1], 1_000) // it was not open
})

t.test('what the server wants: its newest "retry:", or a Retry-After', async (t) => {
  const policy = createRetryPolicy({})
  t.equal(policy.delays(LOST)[0], 0)
  policy.serverRetry(3_000)
  t.equal(policy.delays(LOST)[0], 3_000)
  t.equal(policy.delays(new JournalClientError('FST', 'Unavailable', 503, 7_000))[0], 7_000)
  t.equal(policy.delays(LOST)[0], 3_000)
})

t.test('20 errors are enough; an event, or a good connection, begins anew', async (t) => {
  const policy = createRetryPolicy({})
  const fail = (times: number): void => { for (; times > 0; times--) policy.delays(LOST) }
  fail(19)
  policy.progressed()
  fail(19)
  policy.opened()
  policy.closed(Date.now() + 2_000)
  fail(19)
  t.throws(() => policy.delays(LIMITED), { code: 'FST_JOURNAL_CLIENT_GAVE_UP', status: 429, cause: LIMITED, message: 'Gave up after 20 errors: Too many' })
})

t.test('a browser that is offline does not give up, and one that is online does', async (t) => {
  setOnline(t, false)
  const policy = createRetryPolicy({ maxErrors: 1 })
  t.doesNotThrow(() => policy.delays(LOST))
  setOnline(t, true)
  t.throws(() => policy.delays(LOST), { code: 'FST_JOURNAL_CLIENT_GAVE_UP' })
})

t.test('health is told when it changes: one failure is a moment, a second one is not', async (t) => {
  const told: string[] = []
  const policy = createRetryPolicy({ onHealth: (health) => { told.push(health) } })
  policy.setHealth('connecting')
  policy.delays(LOST)
  policy.opened()
  policy.opened()
  policy.closed(Date.now() + 2_000)
  policy.delays(LOST)
  policy.delays(LOST)
  policy.delays(LOST)
  t.strictSame(told, ['connecting', 'healthy', 'connecting', 'unhealthy'])
})

t.test('without any waits there are none', async (t) => {
  t.strictSame(createRetryPolicy({ backoffMs: [] }).delays(LOST), [0, 0])
})
