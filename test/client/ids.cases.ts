import t from 'tap'
import { createMessageId } from '../../client/index.js'
import { isAfter } from '../../client/ids.js'

t.test('places are compared as numbers', async (t) => {
  const ascending = ['0', '9', '10', '9007199254740993', '9007199254740994']
  const stream = ['0-0', '999-18446744073709551615', '1000-0', '1000-2', '1000-10', '18446744073709551614-1', '18446744073709551615-18446744073709551615']
  for (const places of [ascending, stream]) {
    for (const [i, a] of places.entries()) {
      for (const [j, b] of places.entries()) t.equal(isAfter(a, b), i > j, `${a} is ${i > j ? '' : 'not '}after ${b}`)
    }
  }
})

t.test('what is no place is after nothing, and before every place', async (t) => {
  for (const text of ['', '-1', '1-', '1-2-3', ' 1', '1e3', '0x1', 'abc', '١']) {
    t.equal(isAfter(text, null), false, text)
    t.equal(isAfter(text, '0'), false, text)
    t.equal(isAfter('0', text), true, text)
  }
  t.equal(isAfter(undefined, null), false)
  t.equal(isAfter('0', null), true)
})

t.test('message ids are random UUIDs, of version 4', async (t) => {
  const ids = new Set(Array.from({ length: 100 }, createMessageId))
  t.equal(ids.size, 100)
  for (const id of ids) t.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/)
})
