import t from 'tap'
import { parseArguments } from '../../bench/harness/arguments.js'

const KNOWN = ['append-1', 'idle']
const parse = (...args: string[]) => parseArguments(args, KNOWN)

t.test('without arguments, all scenarios are measured three times', async (t) => {
  t.strictSame(parse(), {
    help: false, scenarios: [], rounds: 3, quick: false, profile: false, against: null, onlyAgainst: false
  })
})

t.test('scenarios are named with or without --only', async (t) => {
  t.match(parse('append-1', '--only', 'idle'), { scenarios: ['append-1', 'idle'] })
  t.throws(() => parse('append-2'), { name: 'UsageError', message: /append-2; there are: append-1, idle/ })
  t.throws(() => parse('--only', 'append-2'), { name: 'UsageError' })
})

t.test('--against takes seven pairs, or as many as --pairs says', async (t) => {
  t.match(parse('append-1', '--against', 'HEAD~5'), { scenarios: ['append-1'], against: 'HEAD~5', rounds: 7 })
  t.match(parse('--against', 'v1', '--pairs', '12', '--only-against'), { rounds: 12, onlyAgainst: true })
})

t.test('a quick run measures once, unless it is told otherwise', async (t) => {
  t.match(parse('--quick'), { rounds: 1 })
  t.match(parse('--quick', '--against', 'HEAD'), { rounds: 1 })
  t.match(parse('--quick', '--rounds', '2'), { rounds: 2 })
})

t.test('options that do not go together are refused', async (t) => {
  t.throws(() => parse('--pairs', '3'), { name: 'UsageError', message: /--pairs needs --against/ })
  t.throws(() => parse('--only-against'), { name: 'UsageError', message: /--only-against needs --against/ })
  t.throws(() => parse('--against', 'HEAD', '--rounds', '3'), { name: 'UsageError', message: /use --pairs/ })
})

t.test('what is no number, no option or no value is refused, with the usage where it helps', async (t) => {
  for (const wrong of ['0', '-1', '1.5', 'many', '']) {
    t.throws(() => parse(`--rounds=${wrong}`), { name: 'UsageError', message: /--rounds must be a whole/ }, wrong)
    t.throws(() => parse('--against=HEAD', `--pairs=${wrong}`), { message: /--pairs must be a whole/ }, wrong)
  }
  t.throws(() => parse('--fast'), { name: 'UsageError', message: /--fast[^]*npm run bench/ })
  t.throws(() => parse('--against'), { name: 'UsageError', message: /--against[^]*npm run bench/ })
})
