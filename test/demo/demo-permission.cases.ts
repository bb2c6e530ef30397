import { test } from 'tap'
import { needsPermission, planDecision, planPermission } from '../../demo/answers/permission.js'
import { splitIntoPassages } from '../../demo/answers/split.js'

const passage = (source: string) => [{ source, text: 'text' }]

const actionOf = (prompt: string, source: string) => {
  const step = planPermission(prompt, passage(source)).find(({ type }) => type === 'approval')
  return step?.type === 'approval' ? step.action : null
}

test('what would act in the world asks first, and what does not answers at once', async (t) => {
  for (const prompt of ['Order me the book', 'please BUY it', 'email it to Ada', 'book me a seat', 'send it']) t.ok(needsPermission(prompt), prompt)
  for (const prompt of ['the border', 'my favourite book', 'a sender']) t.notOk(needsPermission(prompt), prompt)
})

test('the answer ends with the question, which names the work', async (t) => {
  const plan = planPermission('buy it', passage('Herman Melville, Moby-Dick, chapter 36 (1851)'))
  t.equal(plan[0]?.type, 'answer')
  t.match(plan.slice(-2), [
    { type: 'approval', approvalId: /^[0-9a-f-]{36}$/, action: { tool: 'order_book', title: 'Order “Moby-Dick” by Herman Melville' } },
    { type: 'end', reason: 'approval' }
  ])
  t.match(actionOf('email it', 'The Declaration of Independence (1776)'), { tool: 'send_email', title: 'Send a passage of “The Declaration of Independence” by email' })
  t.match(planPermission('buy it', []).at(-2), { action: { title: 'Order “something to read”' } })
  t.match(actionOf('book me a seat', 'William Shakespeare, Sonnet 18 (1609)'), { tool: 'book_seat', title: 'Book a seat at a reading of “Sonnet 18” by William Shakespeare' })
})

test('a decision is said in words, either way', async (t) => {
  const action = { tool: 'order_book', title: 'Order it' }
  const said = (approved: boolean) => planDecision(approved, action).map((step) => step.type === 'answer' ? step.answer : '').join('')
  t.match(said(true), /^You allowed it, so it is done: Order it\./)
  t.match(said(false), /nothing was done: order_book was not called\.$/)
})

test('a text becomes passages that hold all of it, none of them too long', async (t) => {
  const withoutSpaces = (text: string) => text.replace(/\s/g, '')
  for (const text of [
    'short',
    'one\n\ntwo\r\n\r\nthree',
    'a paragraph of words. '.repeat(500),
    `${'x'.repeat(900)}\n\n${'y'.repeat(900)}`,
    `${'x'.repeat(300)}\n\n${'y'.repeat(1100)}`,
    '漢字'.repeat(3000),
    '🐋'.repeat(3000),
    `a${'🐋'.repeat(3000)}`
  ]) {
    const passages = splitIntoPassages(text)
    t.equal(withoutSpaces(passages.join('')), withoutSpaces(text))
    t.ok(passages.every((passage) => passage.length <= 1200 && passage.isWellFormed()))
  }
  t.same(splitIntoPassages(' \n\n '), [])
  t.same(splitIntoPassages('one\n\ntwo'), ['one\n\ntwo'], 'short paragraphs stay together')
  t.equal(splitIntoPassages('words and more words. '.repeat(60)).length, 2)
})
