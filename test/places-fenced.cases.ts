import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { NewEvent } from '../plugin/appender.js'
import { findPlaces } from '../plugin/places.js'
import { startApp } from './helper/app.js'
import { ask } from './helper/journal.js'

const messageId = randomUUID()

function event (sequenceNo: number, epoch: number | null, payload = '{}'): NewEvent {
  return { messageId, sequenceNo, eventType: 'answer', payload, epoch, finish: null }
}

t.test('events of a fenced writer in the same batch do not push the next writer\'s events aside', async (t) => {
  const batch = [event(0, 1), event(1, 1), event(0, 2, '{"next":true}')]
  const { free } = findPlaces(batch, { taken: [], latest: new Map() })
  t.strictSame(free, [event(0, 1), event(1, 1), event(0, 2, '{"next":true}')])
})

t.test('an event that a fenced writer recorded too is the next writer\'s own', async (t) => {
  const { repeated, echoes } = findPlaces([event(0, 1), event(0, 2)], { taken: [], latest: new Map() })
  t.strictSame([repeated, echoes], [[], []])
})

t.test('an event recorded twice at once for a message that does not exist is refused twice', async (t) => {
  const { app } = await startApp(t)
  const missing = randomUUID()
  t.strictSame(await Promise.all([1, 2].map(() => app.journal.recordEvent(missing, 0, 'answer', {}))), [false, false])
})

t.test('an event recorded twice at once has one row, and both calls are told so', async (t) => {
  const { app, databaseUrl } = await startApp(t)
  const { messageId } = await app.journal.openMessage({ userId: 'ada' })
  t.strictSame(await Promise.all([1, 2].map(() => app.journal.recordEvent(messageId, 0, 'answer', {}))), [true, true])
  t.strictSame(await ask(databaseUrl, 'select sequence_no from message_events where message_id = $1', [messageId]), [{ sequence_no: 0 }])
})
