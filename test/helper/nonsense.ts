import { messageTopic } from '../../plugin/wire/names.js'

/** Text that is no envelope, and envelopes of events that are not in the journal, so far ahead that none ever will be. */
function nonsense (messageId: string): string[] {
  const envelope = { message_id: messageId, sequence_no: 100_000, event_type: 'answer', payload: { type: 'nonsense' } }
  return [
    '', 'null', '[]', '{"message_id":', '\0', '{"sequence_no":0,"payload":{}',
    JSON.stringify({ ...envelope, sequence_no: '1' }),
    JSON.stringify({ ...envelope, sequence_no: -1 }),
    JSON.stringify({ ...envelope, payload: 'text' }),
    JSON.stringify(envelope),
    JSON.stringify({ ...envelope, event_type: 'end', payload: { type: 'end' } })
  ]
}

/** Envelopes without a row, whose numbers are taken already, or will be: they are hints, and nobody may see what is in them. */
function rowless (messageId: string): string[] {
  return [0, 3, 8, 20].map((number) => JSON.stringify({ message_id: messageId, sequence_no: number, event_type: 'answer', payload: { type: 'rowless' } }))
}

/** What somebody may publish on the topics of these messages. */
export function nonsenseFor (messageIds: Iterable<string>): Array<[topic: string, texts: string[]]> {
  return [...messageIds].map((messageId) => [messageTopic(messageId), [...nonsense(messageId), ...rowless(messageId)]])
}
