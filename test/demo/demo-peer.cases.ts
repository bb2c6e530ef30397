import { EventEmitter } from 'node:events'
import { test } from 'tap'
import { createPeer, type Channel } from '../../demo/cluster/peer.js'

type Sums = {
  add: { takes: [number, number], gives: number }
  fail: { takes: unknown, gives: void }
  wait: { takes: null, gives: void }
}

/** Two ends of a channel; `cut` is what the death of one of the processes looks like. */
function createChannel () {
  let broken = false
  const ends = [new EventEmitter(), new EventEmitter()] as const
  const endOf = (own: EventEmitter, other: EventEmitter): Channel => Object.assign(own, {
    send (message: object, callback: (error: Error | null) => void) {
      const text = JSON.stringify(message)
      setImmediate(() => {
        callback(broken ? new Error('channel closed') : null)
        if (!broken) other.emit('message', JSON.parse(text))
      })
      return true
    }
  })
  return {
    here: endOf(ends[0], ends[1]),
    there: endOf(ends[1], ends[0]),
    cut: () => {
      broken = true
      for (const end of ends) end.emit('disconnect')
    }
  }
}

function createPair () {
  const { here, there, cut } = createChannel()
  createPeer<Record<string, never>, Sums>(there, {
    add: ([a, b]) => a + b,
    fail: (error) => { throw error },
    wait: () => new Promise(() => {})
  })
  return { peer: createPeer<Sums, Record<string, never>>(here, {}), here, cut }
}

test('calls are answered, each with its own answer', async (t) => {
  const { peer, here } = createPair()
  here.on('message', () => {})
  t.same(await Promise.all([peer.call('add', [1, 2]), peer.call('add', [3, 4])]), [3, 7])
})

test('errors come back with their message and code', async (t) => {
  const { here, there } = createChannel()
  let thrown: unknown
  createPeer<Record<string, never>, Sums>(there, { add: () => { throw thrown }, fail: () => {}, wait: () => {} })
  const { call } = createPeer<Sums, Record<string, never>>(here, {})
  for (const [error, expected] of [
    [new Error('plain'), { message: 'plain' }],
    [Object.assign(new Error('taken'), { code: 'EADDRINUSE' }), { message: 'taken', code: 'EADDRINUSE' }],
    [Object.assign(new AggregateError([new Error('first'), new Error('second')]), { code: 'ECONNREFUSED' }), { message: 'first', code: 'ECONNREFUSED' }],
    [Object.assign(new Error('odd'), { code: 7 }), { message: 'odd' }],
    ['text', { message: 'text' }]
  ] as const) {
    thrown = error
    await t.rejects(call('add', [1, 2]), expected)
  }
})

test('whoever waits for a process that is gone is told', async (t) => {
  const { peer, cut } = createPair()
  const waiting = peer.call('wait', null)
  setImmediate(() => setImmediate(cut))
  await t.rejects(waiting, { message: 'the other process is gone' })
  await t.rejects(peer.call('add', [1, 2]), { message: 'channel closed' })
})

test('what others say on the channel is not for it', async (t) => {
  const { peer, here } = createPair()
  const emitter = here as unknown as EventEmitter // createChannel's
  for (const message of ['text', null, { cmd: 'NODE_CLUSTER' }, { demo: 'answer', id: 99, value: 1 }]) emitter.emit('message', message)
  t.equal(await peer.call('add', [1, 2]), 3)
})
