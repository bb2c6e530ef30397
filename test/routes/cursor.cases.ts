import fc from 'fast-check'
import t from 'tap'
import { parseCursor } from '../../routes/cursor.js'

t.test('a request without a header and without a query has no cursor', async (t) => {
  t.equal(parseCursor(undefined, undefined), null)
})

t.test('the header is the cursor, and the query where there is no header', async (t) => {
  t.equal(parseCursor('7', undefined), 7)
  t.equal(parseCursor(undefined, '7'), 7)
})

t.test('the header wins over the query, also when it is no cursor', async (t) => {
  t.equal(parseCursor('7', '3'), 7)
  t.equal(parseCursor('x', '3'), null)
})

t.test('an empty header is no header', async (t) => {
  t.equal(parseCursor('', '3'), 3)
  t.equal(parseCursor('', undefined), null)
  t.equal(parseCursor(undefined, ''), null)
})

t.test('anything but digits is no cursor', async (t) => {
  for (const text of ['-1', '+1', '1.5', '1e3', '0x10', ' 1', '1 ', '1,2', '1\n', '\n1', 'abc', '٣', '１', 'NaN', 'Infinity', 'null']) {
    t.equal(parseCursor(text, undefined), null, `header ${JSON.stringify(text)}`)
    t.equal(parseCursor(undefined, text), null, `query ${JSON.stringify(text)}`)
  }
})

t.test('a repeated query, or one that is no text, is no cursor', async (t) => {
  for (const query of [['1', '2'], ['1'], 1, true, null, {}]) t.equal(parseCursor(undefined, query), null)
})

t.test('a number too large to be one of ours stands past every row', async (t) => {
  t.ok((parseCursor('99999999999999999999', undefined) ?? 0) > 2_147_483_647)
  t.equal(parseCursor('9'.repeat(400), undefined), Infinity)
})

t.test('every sequence number is read back as it was written', async () => {
  fc.assert(fc.property(fc.nat(2_147_483_647), (sequenceNo) => parseCursor(String(sequenceNo), undefined) === sequenceNo))
})
