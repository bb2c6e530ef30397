import { randomUUID } from 'node:crypto'
import { test } from 'tap'
import { has } from '../helper/journal.js'
import { ids } from '../helper/sse.js'
import { parsed, startUser } from '../helper/user.js'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

test('an approval is asked for and cleared, and its scope is the message', async (t) => {
  const reader = await startUser(t)
  const { app: { journal }, user: userId } = reader
  const connection = await reader.open()
  const messageId = randomUUID()
  const action = { tool: 'send_mail', to: ['ada'] }

  const { approvalId, id } = await journal.requestApproval({ userId, messageId, action })
  const cleared = await journal.clearApproval({ userId, messageId, approvalId })

  await connection.until(has(2))
  t.match(approvalId, UUID)
  t.strictSame(ids(connection), [id, cleared])
  const scope = { kind: 'message', id: messageId }
  const [required, revoked] = parsed(connection)
  t.match(required, { type: 'tool.approval.required', user_id: userId })
  t.strictSame([required.scope, required.payload], [scope, { approvalId, messageId, action }])
  t.match(revoked, { type: 'tool.approval.cleared', user_id: userId })
  t.strictSame([revoked.scope, revoked.payload], [scope, { approvalId, messageId }])
})

test('an approval has an id of its own, or the one that it is given', async (t) => {
  const { app: { journal }, user: userId } = await startUser(t)
  const about = { userId, messageId: randomUUID(), action: null }
  t.match(await journal.requestApproval({ ...about, approvalId: 'mine' }), { approvalId: 'mine', id: /^\d+-\d+$/ })
  t.not((await journal.requestApproval(about)).approvalId, (await journal.requestApproval(about)).approvalId)
})

test('an approval that cannot be told has an id all the same', async (t) => {
  const { app: { journal }, user: userId, lines } = await startUser(t)
  const messageId = randomUUID()
  t.match(await journal.requestApproval({ userId, messageId, action: 1n }), { approvalId: UUID, id: null })
  t.equal(await journal.clearApproval({ userId: '', messageId, approvalId: 'any' }), null)
  t.match(lines.find(({ msg }) => msg === 'journal: a notification was not published'), { level: 40, type: 'tool.approval.required' })
})
