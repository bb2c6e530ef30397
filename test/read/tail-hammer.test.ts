import t, { type Test } from 'tap'
import { startApp } from '../helper/app.js'
import { connect, type ConnectOptions } from '../helper/sse.js'

const READERS = 20
const EVENTS = 6_000

/** Reads until the end, cutting the connection after a random number of events, and resolves with all that it got. */
async function readToTheEnd (t: Test, url: string, onCut: () => void): Promise<number[]> {
  const received: number[] = []
  for (let ended = false; !ended;) {
    const cursor = received.at(-1)
    const options: ConnectOptions = cursor === undefined ? {} : { headers: { 'last-event-id': String(cursor) } }
    const reader = await connect(t, url, options)
    if (reader.status === 204) break
    const enough = Math.ceil(Math.random() * EVENTS / 4)
    await reader.until(({ events }) => events.length >= enough || events.at(-1)?.data.includes('"end"') === true)
    ended = reader.events.at(-1)?.data.includes('"end"') === true
    if (ended) await reader.ended
    else onCut()
    reader.cut()
    // What arrived in the same chunk belongs to the client: its cursor is past it
    for (const { id } of reader.events) received.push(Number(id))
  }
  return received
}

t.test('readers that join, are cut and rejoin while a writer is at full speed get every event once and in order', async (t) => {
  // Two processes' worth: the second app hears of the events only through Redis and Postgres
  const writer = await startApp(t)
  const other = await startApp(t, { databaseUrl: writer.databaseUrl })
  const message = await writer.app.journal.openMessage({ userId: 'ada' })
  let cuts = 0
  const reading = Array.from({ length: READERS }, (_, i) => {
    const { url } = i % 2 === 0 ? writer : other
    return readToTheEnd(t, `${url}/api/messages/${message.messageId}/events`, () => { cuts++ })
  })
  let committed = 0
  for (let i = 0; i < EVENTS; i += 20) {
    const batch = Array.from({ length: 20 }, (_, j) => message.record('answer', { n: i + j }))
    committed += (await Promise.all(batch)).filter(Boolean).length
  }
  await message.end()
  t.equal(committed, EVENTS)
  const expected = Array.from({ length: EVENTS + 1 }, (_, i) => i)
  for (const [i, received] of (await Promise.all(reading)).entries()) t.strictSame(received, expected, `reader ${i}`)
  t.ok(cuts > READERS, `${cuts} connections were cut`)
})
