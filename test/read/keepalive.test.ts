import t from 'tap'
import { createKeepaliveTimer } from '../../plugin/read/keepalive.js'

/** A member that counts its beats and can wait for them. */
function createMember (onBeat = () => {}) {
  let beats = 0
  const waiting = new Map<number, () => void>()
  return {
    keepalive () {
      beats++
      onBeat()
      waiting.get(beats)?.()
    },
    get beats () { return beats },
    beaten: (times: number) => new Promise<void>((resolve) => { waiting.set(times, resolve) })
  }
}

t.test('every member beats once a period', async (t) => {
  const keepalives = createKeepaliveTimer(20)
  const members = [createMember(), createMember(), createMember()]
  for (const member of members) keepalives.add(member)
  t.teardown(() => { for (const member of members) keepalives.remove(member) })
  await members[2]?.beaten(3)
  t.same(members.map((member) => member.beats), [3, 3, 3])
})

t.test('a member that is removed beats no more, also when a neighbour removes it during a beat', async (t) => {
  const keepalives = createKeepaliveTimer(20)
  const removed = createMember()
  const other = createMember(() => { keepalives.remove(removed) })
  keepalives.add(other)
  keepalives.add(removed)
  t.teardown(() => { keepalives.remove(other) })
  await other.beaten(3)
  t.equal(removed.beats, 0)
})

t.test('the members of a long period are spread over several turns', async (t) => {
  const order: string[] = []
  const keepalives = createKeepaliveTimer(1_200)
  const members = ['a', 'b', 'c', 'd'].map((name) => createMember(() => { order.push(name) }))
  for (const member of members) keepalives.add(member)
  t.teardown(() => { for (const member of members) keepalives.remove(member) })
  await Promise.race(members.map((member) => member.beaten(1)))
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(order.length, 2, 'half of them beat in the first turn')
  await Promise.all(members.map((member) => member.beats > 0 ? null : member.beaten(1)))
  t.same(order.toSorted(), ['a', 'b', 'c', 'd'], 'the others in the next')
})

t.test('the timer runs only while there are members, and again after a pause', async (t) => {
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  const keepalives = createKeepaliveTimer(20)
  t.equal(timers(), before, 'none without members')
  const member = createMember()
  keepalives.add(member)
  t.equal(timers(), before + 1)
  keepalives.remove(member)
  keepalives.remove(member)
  t.equal(timers(), before, 'none after the last')
  keepalives.add(member)
  t.teardown(() => { keepalives.remove(member) })
  await member.beaten(2)
})
