import fc from 'fast-check'
import { test } from 'tap'
import { parseStreamCursor } from '../../routes/cursor.js'
import { compareStreamIds, FIRST, parseStreamId } from '../../plugin/wire/stream-id.js'
import { UNKNOWN } from '../../plugin/notifications/notification-log.js'

const MAX = 2n ** 64n - 1n

/** Numbers near to each other, at the ends and at the lengths where text and numbers part ways. */
const number = fc.oneof(
  fc.bigInt({ min: 0n, max: MAX }),
  fc.bigInt({ min: 0n, max: 120n }),
  fc.bigInt({ min: MAX - 20n, max: MAX }),
  fc.nat(19).map((digits) => 10n ** BigInt(digits)),
  fc.nat(19).map((digits) => 10n ** BigInt(digits) - 1n)
)
const pair = fc.tuple(number, number)
const zeros = fc.nat(19)

function padded (value: bigint, zeros: number): string {
  return String(value).padStart(Math.min(20, String(value).length + zeros), '0')
}

test('two ids stand as their numbers do', async () => {
  fc.assert(fc.property(pair, pair, ([ms, no], [otherMs, otherNo]) => {
    const expected = ms !== otherMs ? (ms < otherMs ? -1 : 1) : no === otherNo ? 0 : no < otherNo ? -1 : 1
    return Math.sign(compareStreamIds(`${ms}-${no}`, `${otherMs}-${otherNo}`)) === expected
  }), { numRuns: 2_000 })
})

test('an id is read back in full, without leading zeros, whether or not it has its second number', async () => {
  fc.assert(fc.property(number, number, zeros, zeros, (ms, no, some, more) =>
    parseStreamId(`${padded(ms, some)}-${padded(no, more)}`) === `${ms}-${no}` && parseStreamId(padded(ms, some)) === `${ms}-0`
  ), { numRuns: 2_000 })
})

test('a number that 64 bits cannot hold makes no id', async () => {
  const large = fc.oneof(fc.bigInt({ min: MAX + 1n, max: 10n ** 20n - 1n }), fc.bigInt({ min: 10n ** 20n, max: 10n ** 40n }))
  fc.assert(fc.property(large, number, (large, number) =>
    [`${large}`, `${large}-${number}`, `${number}-${large}`].every((text) => parseStreamId(text) === null)
  ), { numRuns: 1_000 })
})

test('any other text makes no id', async (t) => {
  fc.assert(fc.property(fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('0', '1', '9', '-', '+', ' ', '.', 'e', 'x', '\n') })), (text) => {
    const parts = text.split('-')
    const isId = parts.length <= 2 && parts.every((part) => part !== '' && part.length <= 20 && [...part].every((digit) => '0123456789'.includes(digit)) && BigInt(part) <= MAX)
    return (parseStreamId(text) !== null) === isId
  }), { numRuns: 2_000 })
  for (const text of ['', '-', '1-', '-5', '1-2-3', '1-1-', '+1', '1 ', ' 1', '1\n', '1-1\n', '1.5', '1e3', '0x1', '$', '*', '>', '(1-0', '٣-0', '１', `${'0'.repeat(20)}1`]) {
    t.equal(parseStreamId(text), null, JSON.stringify(text))
  }
})

test('what is no text makes no id', async (t) => {
  for (const value of [undefined, null, 7, 7n, ['7-0'], {}, true]) t.equal(parseStreamId(value), null)
})

test('the first position stands before every id', async () => {
  fc.assert(fc.property(number, fc.bigInt({ min: 1n, max: MAX }), (ms, no) => compareStreamIds(FIRST, `${ms}-${no}`) < 0))
})

test('a reader\'s cursor is the header, else the query; an empty one is none, and what is no entry\'s says nothing', async (t) => {
  t.equal(parseStreamCursor(undefined, undefined), null)
  t.equal(parseStreamCursor('', ''), null)
  t.equal(parseStreamCursor('7-1', '5-0'), '7-1')
  t.equal(parseStreamCursor('', '5'), '5-0')
  t.equal(parseStreamCursor('x', '5'), UNKNOWN)
  t.equal(parseStreamCursor(undefined, ['5', '6']), UNKNOWN)
  for (const text of ['0', '0-0', '00-000']) t.equal(parseStreamCursor(text, undefined), UNKNOWN)
})
