import t from 'tap'
import { judge } from '../../bench/harness/results.js'
import { median, percentile } from '../../bench/harness/statistics.js'

const contenders = [
  { name: 'ours', what: '', samples: [{ p50Ms: 2, errors: 0 }, { p50Ms: 9, errors: 1 }, { p50Ms: 3, errors: 0 }] },
  { name: 'limit', what: '', samples: [{ p50Ms: 1 }, { p50Ms: 10 }, { p50Ms: 2 }] }
]

t.test('a ratio and a difference are taken within each round, and their median is judged', async (t) => {
  const ratio = { text: '', metric: 'p50Ms', to: { contender: 'limit', by: 'ratio' } } as const
  t.match(judge({ ...ratio, atMost: 1.5 }, contenders), { reached: { median: 1.5, low: 0.9, high: 2 }, met: true })
  t.match(judge({ ...ratio, atMost: 1.4 }, contenders), { met: false })
  t.match(judge({ ...ratio, atLeast: 1.6 }, contenders), { met: false })
  t.match(judge(ratio, contenders), { met: null })
  t.match(judge({ ...ratio, to: { contender: 'limit', by: 'difference' }, atMost: 1 }, contenders), { reached: { median: 1, low: -1, high: 1 }, met: true })
})

t.test('what must hold in every round is missed by one that does not', async (t) => {
  t.match(judge({ text: '', metric: 'errors', atMost: 0 }, contenders), { met: true })
  t.match(judge({ text: '', metric: 'errors', atMost: 0, always: true }, contenders), { met: false })
})

t.test('a goal whose figures are missing is missed', async (t) => {
  t.match(judge({ text: '', metric: 'p50Ms', to: { contender: 'peer', by: 'ratio' }, atMost: 2 }, contenders), { met: false })
  t.match(judge({ text: '', metric: 'p99Ms', atMost: 2 }, contenders), { met: false })
  t.match(judge({ text: '', metric: 'p99Ms', atMost: 2, always: true }, contenders), { met: false })
})

t.test('the median and the percentiles', async (t) => {
  t.equal(median([3, 1, 2]), 2)
  t.equal(median([4, 1, 2, 3]), 2.5)
  t.equal(percentile([1, 2, 3, 4], 0.99), 4)
  t.equal(percentile([1, 2, 3, 4], 0.5), 3)
})
